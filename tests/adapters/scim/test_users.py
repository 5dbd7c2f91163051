"""Users of a directory are identities: made, adopted, changed, ended, and never another directory's."""

import httpx2
from sqlalchemy import text

from app.features.administrators.queries import find_link_holder
from app.models.identities import IdentityLink
from tests.adapters.scim.conftest import ENTERPRISE, NewScim, patch, provider_of, user
from tests.features.principals import Json, Sessions, agent, events, grant, history, made, person, plain

ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"


async def create(scim: httpx2.AsyncClient, body: Json) -> Json:
    """The user that a POST made."""
    answer = await scim.post("Users", json=body)
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == answer.json()["meta"]["location"]
    shown: Json = answer.json()
    assert shown["meta"]["location"] == f"http://127.0.0.1:8080/scim/v2/Users/{shown['id']}"
    return shown


async def send(scim: httpx2.AsyncClient, method: str, shown: Json, body: Json, status: int = 200) -> Json:
    """What a change answered."""
    answer = await scim.request(method, f"Users/{shown['id']}", json=body)
    assert answer.status_code == status, answer.text
    found: Json = answer.json()
    return found


async def identity_of(api: httpx2.AsyncClient, shown: Json) -> Json:
    """The identity that a user is."""
    answer = await api.get(f"/api/v1/identities/{shown['id']}")
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


async def links(sessions: Sessions, provider_id: str) -> dict[str, str]:
    """Whose a provider's links are: the id in hexadecimal by the value."""
    query = text("SELECT value, identity_id FROM identity_links WHERE provider_id = :id AND kind = 'oidc'")
    async with sessions() as session:
        found = await session.execute(query, {"id": plain({"id": provider_id})})
        return {row.value: row.identity_id.hex for row in found}


async def who_signs_in(sessions: Sessions, provider_id: str, link: str) -> tuple[str | None, bool]:
    """Whom the provider's token with this link is of, in hexadecimal, and whether it lets them in."""
    async with sessions() as session:
        known = await find_link_holder(session, plain({"id": provider_id}), link)
    assert known is not None
    return None if known.identity_id is None else known.identity_id.hex, known.can_sign_in


def refused(answer: httpx2.Response, status: int, scim_type: str | None = None) -> None:
    """That an answer is a SCIM error."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/scim+json"
    body = answer.json()
    assert (body["schemas"], body["status"], body.get("scimType")) == ([ERROR], str(status), scim_type)


async def test_a_user_is_an_identity_with_what_policies_read(
    new_scim: NewScim, api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    mapped = {
        "department": f"{ENTERPRISE}:department",
        "mail": 'emails[type eq "work"].value',
        "kind": "userType",
    }
    scim = await new_scim(attributes=mapped)
    work = {"value": "ada@example.com", "type": "work"}
    body = user(
        "Ada",
        name={"formatted": "Ada Lovelace", "givenName": "Ada", "middleName": "King"},
        emails=[{"value": "home@example.com", "type": "home"}, work],
        password="hunter2-hunter2",
        phoneNumbers=[{"value": "555"}],
        userType="x" * 300,
        **{ENTERPRISE: {"department": "finance", "manager": "boss"}},
    )
    shown = await create(scim, body | {"schemas": [*body["schemas"], "urn:example:unknown"]})
    assert shown["name"] == {"formatted": "Ada Lovelace", "givenName": "Ada"}
    assert shown[ENTERPRISE] == {"department": "finance", "manager": {"value": "boss"}}
    assert shown["active"] is True
    assert {"password", "phoneNumbers", "displayName", "groups"} & shown.keys() == set()
    assert (await scim.get(f"Users/{shown['id']}")).json() == shown

    identity = await identity_of(api, shown)
    expected = {
        "kind": "person",
        "user_name": "Ada",
        "display_name": "Ada Lovelace",
        "email": "ada@example.com",
        "external_id": "ext-Ada",
        "source": "scim",
        "provider_id": provider_of(scim),
        # A value that no policy could hold is left out.
        "attributes": {"department": "finance", "mail": "ada@example.com"},
    }
    assert {name: identity[name] for name in expected} == expected
    (link,) = identity["links"]
    assert link == {"provider_id": provider_of(scim), "kind": "oidc", "value": "ext-Ada"}
    assert await who_signs_in(sessions, provider_of(scim), "ext-Ada") == (plain(shown).hex, True)

    # What was set by hand stays; what the directory gives is the directory's.
    by_hand = {"attributes": {"badge": "7", "department": "by hand"}}
    await api.patch(f"/api/v1/identities/{shown['id']}", json=by_hand)
    await send(scim, "PUT", shown, user("Ada", **{ENTERPRISE: {"department": "ops"}}))
    identity = await identity_of(api, shown)
    assert identity["attributes"] == {"badge": "7", "department": "ops"}
    assert (identity["display_name"], identity["email"]) == (None, None)
    assert [content["attributes"] for content, _ in await history(sessions, "identity")][-1] == identity[
        "attributes"
    ]
    actions = [action for action, _ in await events(sessions, shown)]
    assert actions == [
        "identity.create", "scim.request", "scim.request", "identity.update", "identity.update", "scim.request",
    ]  # fmt: skip
    async with sessions() as session:
        for table in ("scim_users", "identities", "audit_events", "object_versions"):
            rows = await session.execute(text(f"SELECT t::text FROM {table} t"))
            assert "hunter2" not in "".join(row[0] for row in rows), table


async def test_names_that_look_the_same_are_one_users_who_is_shown_it_as_it_was_written(
    scim: httpx2.AsyncClient, api: httpx2.AsyncClient
) -> None:
    shown = await create(scim, user("\uff21da "))
    assert shown["userName"] == "\uff21da "
    identity = await api.get(f"/api/v1/identities/{shown['id']}")
    assert identity.json()["user_name"] == "Ada"
    refused(await scim.post("Users", json=user("ada\u200b")), 409, "uniqueness")
    for name in ("eve\u202e", "e\u2067ve"):
        refused(await scim.post("Users", json=user(name)), 400, "invalidValue")


async def test_ending_and_coming_back(
    scim: httpx2.AsyncClient, api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    shown = await create(scim, user("ada"))
    other = await agent(api, shown)
    given = await grant(api, shown)
    for body, after in (
        (user("ada", title="Dr"), True),  # Says nothing of it, so nothing happens.
        (user("ada", title="Dr", active="False"), False),
        (user("ada", title="Prof"), False),
    ):
        assert (await send(scim, "PUT", shown, body))["active"] is after
    identity = await identity_of(api, shown)
    assert identity["status"] == "offboarded"
    assert (await identity_of(api, other))["status"] == "suspended"
    assert (await api.get(f"/api/v1/grants/{given['id']}")).status_code == 404

    back = await send(scim, "PATCH", shown, patch({"op": "Replace", "path": "active", "value": "True"}))
    assert back["active"] is True
    assert (await identity_of(api, shown))["status"] == "active"
    assert (await identity_of(api, other))["status"] == "suspended"
    assert (await api.get(f"/api/v1/grants/{given['id']}")).status_code == 404
    # Suspended by hand: the directory sees it, and a change of anything else does not touch it.
    await api.post(f"/api/v1/identities/{shown['id']}/suspend")
    named = patch({"op": "replace", "path": "title", "value": "Dame"})
    assert (await send(scim, "PATCH", shown, named))["active"] is False
    assert (await identity_of(api, shown))["status"] == "suspended"
    off = patch({"op": "replace", "value": {"id": shown["id"], "active": False}})
    assert (await send(scim, "PATCH", shown, off))["active"] is False
    assert (await identity_of(api, shown))["status"] == "offboarded"

    assert (await scim.delete(f"Users/{shown['id']}")).status_code == 204
    for method in ("GET", "DELETE"):
        refused(await scim.request(method, f"Users/{shown['id']}"), 404)
    refused(await scim.put(f"Users/{shown['id']}", json=user("ada", active=True)), 404)
    assert (await identity_of(api, shown))["status"] == "offboarded"
    assert await who_signs_in(sessions, provider_of(scim), "ext-ada") == (plain(shown).hex, False)
    again = await create(scim, user("ada"))
    assert again["id"] != shown["id"]
    assert (await links(sessions, provider_of(scim))) == {"ext-ada": plain(again).hex}
    # One that is made inactive never was active for anybody.
    inactive = await create(scim, user("bob", active=False))
    assert inactive["active"] is False
    assert (await identity_of(api, inactive))["status"] == "offboarded"


async def test_names_are_taken_within_a_directory_and_by_its_living_users_alone(
    new_scim: NewScim, api: httpx2.AsyncClient
) -> None:
    scim, other = await new_scim("one"), await new_scim("two")
    ada, bob = await create(scim, user("ada")), await create(scim, user("bob"))
    await made(api, "identities", {"kind": "person", "user_name": "cyd"})
    await create(scim, user("cyd"))
    for body in (user("ADA", externalId="new"), user("new", externalId="ext-ada")):
        refused(await scim.post("Users", json=body), 409, "uniqueness")
        refused(await scim.put(f"Users/{bob['id']}", json=body), 409, "uniqueness")
    assert (await scim.get(f"Users/{bob['id']}")).json() == bob
    # Inactive, it is still there.
    await send(scim, "PATCH", ada, patch({"op": "replace", "path": "active", "value": False}))
    refused(await scim.post("Users", json=user("ada", externalId="new")), 409, "uniqueness")

    # Of whoever is deleted another one may have all names, and whose they were may be had by a third.
    dan = await create(scim, user("dan"))
    assert (await scim.delete(f"Users/{bob['id']}")).status_code == 204
    await send(scim, "PUT", dan, user("bob"))
    await create(scim, user("dan"))

    # Another directory has users of its own, and never sees these, nor those of nobody.
    theirs = await create(other, user("ada"))
    by_hand = await person(api)
    for foreign, client in ((ada, other), (theirs, scim), (by_hand, scim)):
        path = f"Users/{foreign['id']}"
        refused(await client.get(path), 404)
        refused(await client.put(path, json=user("ada")), 404)
        refused(
            await client.patch(path, json=patch({"op": "replace", "path": "active", "value": False})), 404
        )
        refused(await client.delete(path), 404)
    assert (await other.get(f"Users/{theirs['id']}")).json() == theirs
    assert (await identity_of(api, by_hand))["status"] == "active"


async def test_who_signed_in_before_is_adopted_and_who_ended_stays_ended(
    new_scim: NewScim, api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    scim, other = await new_scim("one", link_attribute="userName"), await new_scim("two")
    here = plain({"id": provider_of(scim)})

    async def known(name: str, **fields: str) -> Json:
        found = await person(api, **fields)
        async with sessions() as session:
            session.add(IdentityLink(identity_id=plain(found), provider_id=here, kind="oidc", value=name))
            await session.commit()
        return found

    signed_in = await known("ada")
    theirs = await agent(api, signed_in)
    given = await grant(api, signed_in)
    shown = await create(scim, user("ada", displayName="Ada"))
    assert shown["id"] == signed_in["id"]
    adopted = await identity_of(api, shown)
    assert (adopted["source"], adopted["provider_id"], adopted["user_name"]) == (
        "scim",
        provider_of(scim),
        "ada",
    )
    assert (await api.get(f"/api/v1/grants/{given['id']}")).status_code == 200
    assert (await identity_of(api, theirs))["status"] == "active"
    refused(await scim.post("Users", json=user("ADA2") | {"userName": "ada"}), 409, "uniqueness")

    # Suspended by hand, adopted as that; an explicit word lifts it.
    stopped = await known("bob")
    await api.post(f"/api/v1/identities/{stopped['id']}/suspend")
    assert (await create(scim, user("bob")))["active"] is False
    # Ended, and erased: the new person is somebody else, and signs in as that.
    for name in ("cyd", "dan"):
        ended = await known(name)
        await api.post(f"/api/v1/identities/{ended['id']}/offboard", json={"reason": "left"})
        if name == "dan":
            await api.post(f"/api/v1/identities/{ended['id']}/erase")
        new = await create(scim, user(name))
        assert new["id"] != ended["id"]
        assert (await links(sessions, provider_of(scim)))[name] == plain(new).hex
        assert (await identity_of(api, ended))["status"] == "offboarded"
    # Another directory's user is not this one's to take, whatever links say.
    elsewhere = await create(other, user("eve"))
    async with sessions() as session:
        session.add(IdentityLink(identity_id=plain(elsewhere), provider_id=here, kind="oidc", value="eve"))
        await session.commit()
    refused(await scim.post("Users", json=user("eve")), 409, "uniqueness")
    refused(await scim.put(f"Users/{shown['id']}", json=user("eve")), 409, "uniqueness")

    # A new name is a new link, and the old one opens nothing any more.
    await send(scim, "PUT", shown, user("ada.lovelace"))
    now = await links(sessions, provider_of(scim))
    assert now["ada.lovelace"] == plain(shown).hex
    assert "ada" not in now

    # The provider ends and is registered anew: its people are the same.
    path = f"/api/v1/identity-providers/{provider_of(scim)}"
    settings = (await api.get(path)).json()["scim"]
    assert (await api.delete(path)).status_code == 204
    refused(await scim.get("Users"), 403)
    await made(
        api,
        "identity-providers",
        {"name": "anew", "issuer": "https://one.example.com", "audiences": ["a"], "scim": settings},
    )
    refused(await scim.get(f"Users/{shown['id']}"), 404)
    assert (await create(scim, user("ada.lovelace")))["id"] == shown["id"]


async def test_a_leaver_who_is_renamed_stays_out_by_every_name(
    scim: httpx2.AsyncClient, sessions: Sessions
) -> None:
    ada, bob = await create(scim, user("ada")), await create(scim, user("bob"))
    # In the request that lets them go, and in one after it.
    await send(scim, "PUT", ada, user("ada", externalId="gone-1", active=False))
    await send(scim, "PATCH", bob, patch({"op": "replace", "path": "active", "value": False}))
    await send(scim, "PATCH", bob, patch({"op": "replace", "path": "externalId", "value": "gone-2"}))
    for link, shown in (("ext-ada", ada), ("gone-1", ada), ("ext-bob", bob), ("gone-2", bob)):
        assert await who_signs_in(sessions, provider_of(scim), link) == (plain(shown).hex, False)
    # What the directory calls them now is theirs; what it called them once it may give to somebody else.
    refused(await scim.post("Users", json=user("cyd", externalId="gone-1")), 409, "uniqueness")
    cyd = await create(scim, user("cyd", externalId="ext-ada"))
    dan = await create(scim, user("dan"))
    await send(scim, "PATCH", dan, patch({"op": "replace", "path": "externalId", "value": "ext-bob"}))
    for link, shown in (("ext-ada", cyd), ("ext-bob", dan)):
        assert await who_signs_in(sessions, provider_of(scim), link) == (plain(shown).hex, True)


async def test_an_erasure_takes_what_the_directory_said(
    scim: httpx2.AsyncClient, api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    names = {"displayName": "Quaxolotl", "emails": [{"value": "quaxolotl@example.com"}]}
    shown = await create(scim, user("quaxolotl", name={"givenName": "Quaxolotl"}, **names))
    await send(scim, "PATCH", shown, patch({"op": "replace", "path": "active", "value": False}))
    assert (await api.post(f"/api/v1/identities/{shown['id']}/erase")).status_code == 200
    async with sessions() as session:
        for table in ("scim_users", "identities", "identity_links", "audit_events", "object_versions"):
            rows = await session.execute(text(f"SELECT t::text FROM {table} t"))
            assert "quaxolotl" not in "".join(row[0].lower() for row in rows), table
    assert await who_signs_in(sessions, provider_of(scim), "ext-quaxolotl") == (plain(shown).hex, False)
    refused(await scim.get(f"Users/{shown['id']}"), 404)
    on = patch({"op": "replace", "path": "active", "value": True})
    refused(await scim.patch(f"Users/{shown['id']}", json=on), 404)
    again = await create(scim, user("quaxolotl"))
    assert again["id"] != shown["id"]
    assert await who_signs_in(sessions, provider_of(scim), "ext-quaxolotl") == (plain(again).hex, True)


async def test_entity_tags_are_honoured(scim: httpx2.AsyncClient) -> None:
    config = (await scim.get("ServiceProviderConfig")).json()
    # Said otherwise: a client that is told so may send tags of its own making (see the decision record).
    assert config["etag"] == {"supported": False}
    answer = await scim.post("Users", json=user("ada"))
    shown, first = answer.json(), answer.headers["etag"]
    assert shown["meta"]["version"] == first == 'W/"1"'
    path = f"Users/{shown['id']}"
    assert (await scim.get(path, headers={"If-None-Match": first})).status_code == 304
    changed = await scim.put(path, json=user("ada", title="Dr"), headers={"If-Match": first})
    assert (changed.status_code, changed.headers["etag"]) == (200, 'W/"2"')
    for request in (
        scim.build_request("PUT", path, json=user("ada"), headers={"If-Match": first}),
        scim.build_request(
            "PATCH", path, json=patch({"op": "remove", "path": "title"}), headers={"If-Match": first}
        ),
        scim.build_request("DELETE", path, headers={"If-Match": first}),
    ):
        refused(await scim.send(request), 412)
    # The same again is no change.
    same = await scim.put(path, json=user("ada", title="Dr"))
    assert (same.status_code, same.headers["etag"]) == (200, 'W/"2"')
    assert (await scim.get(path, headers={"If-None-Match": first})).json()["title"] == "Dr"


async def test_a_directory_ends_an_owner_whom_it_keeps_and_administrators_are_notified(
    scim: httpx2.AsyncClient, api: httpx2.AsyncClient
) -> None:
    body = {"name": "gate", "url": "https://hooks.example.com/", "events": ["administrator.offboarded"]}
    webhook = (await api.post("/api/v1/webhooks", json=body)).json()["webhook"]
    plain = (await scim.post("Users", json=user("grace"))).json()["id"]
    owner = (await scim.post("Users", json=user("ada"))).json()["id"]
    account = {"name": "keys", "owner_id": owner, "role": "owner"}
    assert (await api.post("/api/v1/service-accounts", json=account)).status_code == 201
    for id in (plain, owner):
        answer = await scim.patch(
            f"Users/{id}", json=patch({"op": "replace", "path": "active", "value": False})
        )
        assert answer.json()["active"] is False
    told = (await api.get(f"/api/v1/webhooks/{webhook['id']}/deliveries")).json()["items"]
    assert [one["data"]["identity_id"] for one in told] == [owner]
    # And it brings back whom it keeps.
    back = await scim.patch(f"Users/{owner}", json=patch({"op": "replace", "path": "active", "value": True}))
    assert back.json()["active"] is True
