"""An erasure deletes all personal data everywhere, and leaves the id and the history of its actions."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest

from app.features.identities.queries import erased_link
from app.http.authorization import Role
from app.lib.ids import IDENTITY, format_id, new_id, parse_id
from app.models.access import Approval
from app.models.identities import Identity, IdentityLink
from tests.api import ApiAs
from tests.features.tokens.world import World, in_days

PATH = "/api/v1/identities"
ALL = {"kind": "all"}
Json = dict[str, Any]


def path(identity: Identity, verb: str = "/erase") -> str:
    return f"{PATH}/{format_id(IDENTITY, identity.id)}{verb}"


async def offboard(world: World, identity: Identity, reason: str = "left the company") -> None:
    answer = await world.api.post(path(identity, "/offboard"), json={"reason": reason})
    assert answer.status_code == 200, answer.text


async def erase(world: World, identity: Identity, **headers: str) -> httpx2.Response:
    return await world.api.post(path(identity), headers=headers)


async def erased(world: World, **fields: Any) -> Identity:
    """A leaver whose personal data is erased."""
    person = await world.person(**fields)
    await offboard(world, person)
    assert (await erase(world, person)).status_code == 200
    return person


async def made(world: World, kind: str, body: Json, key: str | None = None) -> Json:
    headers = {} if key is None else {"Idempotency-Key": key}
    answer = await world.api.post(f"/api/v1/{kind}", json=body, headers=headers)
    assert answer.status_code == 201, answer.text
    found: Json = answer.json()
    return found


async def places_with(world: World, word: str) -> list[str]:
    """Every table with a row that contains this word."""
    tables = await world.sql(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    )
    found = []
    for (table,) in tables:
        quoted = table.replace('"', '""')
        rows = await world.sql(
            f'SELECT 1 FROM "{quoted}" AS one WHERE one::text ILIKE :part LIMIT 1',
            part=f"%{word}%",
        )
        found += [table] * len(rows)
    return found


async def test_afterwards_the_database_names_the_person_nowhere(world: World) -> None:
    word = f"lovelace{uuid4().hex}"
    body = {
        "kind": "person", "user_name": f"ada.{word}", "display_name": f"Ada {word}",
        "email": f"{word}@example.com", "external_id": f"hr-{word}",
        "attributes": {f"desk of {word}": "17", "manager": word},
    }  # fmt: skip
    shown = await made(world, "identities", body, key=uuid4().hex)
    person = await found(world, shown)
    agent = await world.agent(person)
    principal = {"type": "identity", "id": shown["id"]}
    granted = {"principal": principal, "servers": ALL, "tools": ALL, "reason": f"{word} is on call"}
    grant = await made(world, "grants", granted, key=uuid4().hex)
    patched = await world.api.patch(f"/api/v1/grants/{grant['id']}", json={"reason": f"for {word} again"})
    assert patched.status_code == 200
    issued = world.order(person, name=f"{word}'s laptop", ip_allow=["203.0.113.7/32"])
    token = (await made(world, "tokens", issued, key=uuid4().hex))["token"]
    agents = await world.issue(agent)
    await world.add(
        IdentityLink(identity_id=person.id, kind="oidc", value=f"{word}@example.com"),
        Approval(
            kind="access",
            identity_id=person.id,
            reason=f"{word} asks",
            state="denied",
            decision_reason=f"not {word}",
        ),
        versioned=False,
    )
    await offboard(world, person, f"{word} has left")
    assert (await world.read(agents))["revoke_reason"] == f"{word} has left"
    assert len(await places_with(world, word)) >= 8

    answer = await erase(world, person)

    assert answer.status_code == 200, answer.text
    assert await places_with(world, word) == []
    assert await places_with(world, "203.0.113.7") == []
    body = answer.json()
    assert body["erased_at"] is not None
    assert (body["id"], body["user_name"], body["status"]) == (shown["id"], shown["id"], "offboarded")
    assert (body["display_name"], body["email"], body["external_id"], body["links"]) == (None, None, None, [])
    assert (await world.api.get(f"{PATH}/{shown['id']}")).json() == body
    kept = await world.read(token)
    assert (kept["name"], kept["status"], kept["revoke_reason"]) == ("erased", "revoked", None)
    assert kept["scope"] == {"kind": "grants"}
    assert (await world.read(agents))["name"] == agents["name"]


async def found(world: World, shown: Json) -> Identity:
    async with world.sessions() as session:
        row = await session.get(Identity, parse_id(IDENTITY, shown["id"]))
    assert row is not None
    return row


async def test_what_others_wrote_about_others_stays(world: World) -> None:
    leaver, other = await world.person(), await world.person(display_name="Bea", email="bea@example.com")
    grant = await made(
        world, "grants",
        {"principal": {"type": "identity", "id": format_id(IDENTITY, other.id)}, "servers": ALL, "tools": ALL,
         "reason": "on call"},
    )  # fmt: skip
    token = await world.issue(other)
    revoked = await world.api.post(f"/api/v1/tokens/{token['id']}/revoke", json={"reason": "laptop lost"})
    assert revoked.status_code == 200
    await world.add(IdentityLink(identity_id=other.id, kind="oidc", value="bea"), versioned=False)
    await offboard(world, leaver)
    assert (await erase(world, leaver)).status_code == 200
    shown = (await world.api.get(path(other, ""))).json()
    assert (shown["display_name"], shown["email"], shown["erased_at"]) == ("Bea", "bea@example.com", None)
    assert [link["value"] for link in shown["links"]] == ["bea"]
    assert (await world.api.get(f"/api/v1/grants/{grant['id']}")).json() == grant
    assert (await world.read(token))["revoke_reason"] == "laptop lost"
    assert (await world.read(token))["name"] == token["name"]


@pytest.mark.parametrize("status", ["active", "suspended"])
async def test_who_is_not_offboarded_is_not_erased(world: World, status: str) -> None:
    person = await world.person(display_name="Ada", status=status)
    answer = await erase(world, person)
    assert (answer.status_code, answer.json()["code"]) == (409, "identity_not_offboarded")
    shown = (await world.api.get(path(person, ""))).json()
    assert (shown["display_name"], shown["erased_at"], shown["revision"]) == ("Ada", None, 1)


async def test_a_repeat_answers_the_same_and_changes_nothing(world: World) -> None:
    person = await world.person(display_name="Ada")
    await offboard(world, person)
    first = await erase(world, person)
    version = await world.version(person.id)
    again = await erase(world, person)
    assert (again.status_code, again.json(), again.headers["etag"]) == (
        200,
        first.json(),
        first.headers["etag"],
    )
    assert await world.version(person.id) == version
    assert (await world.actions(person.id)).count("identity.erase") == 1


async def test_another_revision_than_the_present_one_is_not_erased(world: World) -> None:
    person = await world.person(display_name="Ada")
    await offboard(world, person)
    refused = await erase(world, person, **{"If-Match": '"1"'})
    assert (refused.status_code, refused.json()["code"]) == (412, "revision_mismatch")
    assert (await world.api.get(path(person, ""))).json()["display_name"] == "Ada"
    done = await erase(world, person, **{"If-Match": '"2"'})
    assert (done.status_code, done.headers["etag"]) == (200, '"3"')


async def test_nobody_but_an_owner_erases(world: World, api_as: ApiAs) -> None:
    person = await world.person(display_name="Ada")
    await offboard(world, person)
    for role in set(Role) - {Role.OWNER}:
        answer = await (await api_as(role)).post(path(person))
        assert answer.status_code == 403, role
        assert "identities.erase" in answer.json()["detail"]
    assert (await world.api.get(path(person, ""))).json()["display_name"] == "Ada"


async def test_an_identity_that_is_not_there_is_not_found(world: World) -> None:
    answer = await world.api.post(f"{PATH}/{format_id(IDENTITY, new_id())}/erase")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_the_audit_trail_tells_that_it_happened_and_names_nobody(world: World) -> None:
    person = await erased(world, user_name="ada", display_name="Ada", external_id="4711")
    ((changes,),) = await world.sql(
        "SELECT changes FROM audit_events WHERE object_id = :id AND action = 'identity.erase'", id=person.id
    )
    personal = {"personal": True}
    assert changes == {"user_name": personal, "display_name": personal, "external_id": personal}


async def test_audit_events_show_the_id_of_an_erased_actor_without_a_name(world: World) -> None:
    person = await world.person(user_name="ada", display_name="Ada")
    await world.sql(
        "INSERT INTO audit_events (id, action, actor_type, actor_id) VALUES (:id, 'tool.call', 'identity', :actor)",
        id=new_id(), actor=person.id,
    )  # fmt: skip
    shown_id = format_id(IDENTITY, person.id)

    async def actors(**query: str) -> list[Json]:
        answer = await world.api.get("/api/v1/audit-events", params={"actor_id": shown_id} | query)
        assert answer.status_code == 200, answer.text
        return [item["actor"] for item in answer.json()["items"]]

    assert await actors() == [{"type": "identity", "id": shown_id, "name": "Ada"}]
    await offboard(world, person)
    assert (await erase(world, person)).status_code == 200
    assert await actors() == [{"type": "identity", "id": shown_id, "name": None}]
    assert await actors(q="ada") == []
    assert await actors(q="idn_") == []


@pytest.mark.parametrize(
    ("method", "verb", "body"),
    [
        ("POST", "/reinstate", None),
        ("PATCH", "", {"display_name": "Ada"}),
        ("PATCH", "", {"email": "a@b.example"}),
    ],
)
async def test_nothing_brings_an_erased_identity_back(
    world: World, method: str, verb: str, body: Json | None
) -> None:
    person = await erased(world, display_name="Ada")
    answer = await world.api.request(method, path(person, verb), json=body)
    assert (answer.status_code, answer.json()["code"]) == (409, "identity_erased")
    shown = (await world.api.get(path(person, ""))).json()
    assert (shown["status"], shown["display_name"]) == ("offboarded", None)


async def test_a_repeated_offboarding_still_shows_what_ended(world: World) -> None:
    person = await world.person()
    token = await world.issue(person)
    await offboard(world, person)
    assert (await erase(world, person)).status_code == 200
    answer = await world.api.post(path(person, "/offboard"), json={"reason": "again"})
    assert answer.status_code == 200
    body = answer.json()
    assert (body["changed"], body["revoked"]["tokens"]) == (False, [token["id"]])
    assert body["identity"]["display_name"] is None


async def test_a_kept_answer_that_showed_the_person_is_not_given_again_nor_made_again(world: World) -> None:
    key, name = uuid4().hex, f"ada-{uuid4().hex}"
    body = {"kind": "person", "user_name": name}
    shown = await made(world, "identities", body, key=key)
    other = await made(world, "identities", body | {"user_name": f"bea-{name}"}, key=f"{key}-other")
    person = await found(world, shown)
    await offboard(world, person)
    assert (await erase(world, person)).status_code == 200
    again = await world.api.post(PATH, json=body, headers={"Idempotency-Key": key})
    assert (again.status_code, again.json()["code"]) == (409, "identity_erased")
    replayed = await world.api.post(
        PATH, json=body | {"user_name": f"bea-{name}"}, headers={"Idempotency-Key": f"{key}-other"}
    )
    assert (replayed.status_code, replayed.json()) == (201, other)


async def test_a_name_is_free_once_nobody_is_remembered_by_it(world: World) -> None:
    name = f"ada-{uuid4().hex}"
    person = await world.person(user_name=name)
    await offboard(world, person)
    body = {"kind": "person", "user_name": name}
    assert (await world.api.post(PATH, json=body)).json()["code"] == "user_name_reserved"
    assert (await erase(world, person)).status_code == 200
    assert (await world.api.post(PATH, json=body)).status_code == 201


async def test_links_stay_as_digests_of_their_own(world: World) -> None:
    person = await world.person()
    await world.add(
        IdentityLink(identity_id=person.id, kind="oidc", value="ada"),
        IdentityLink(identity_id=person.id, kind="scim", value="ada"),
        versioned=False,
    )
    await offboard(world, person)
    assert (await erase(world, person)).status_code == 200
    rows = await world.sql("SELECT kind, value FROM identity_links WHERE identity_id = :id", id=person.id)
    assert dict(tuple(row) for row in rows) == {
        "oidc": erased_link("oidc", "ada"), "scim": erased_link("scim", "ada"),
    }  # fmt: skip
    assert erased_link("oidc", "ada") != erased_link("scim", "ada")


async def test_credentials_of_ones_own_go_and_those_of_servers_stay(world: World) -> None:
    person, server = await world.person(), await world.server()
    base = f"/api/v1/servers/{server}"
    secret = {"kind": "bearer", "token": "upstream-token"}
    for place in (f"{base}/credential", f"{base}/credentials/{format_id(IDENTITY, person.id)}"):
        assert (await world.api.put(place, json=secret)).status_code == 200
    await offboard(world, person)
    assert (await erase(world, person)).status_code == 200
    held: list[UUID | None] = [
        row[0] for row in await world.sql("SELECT identity_id FROM server_credentials")
    ]
    assert held == [None]


async def test_an_erased_agent_leaves_its_owner_alone(world: World) -> None:
    owner = await world.person(display_name="Ada")
    agent = await world.agent(owner, display_name="Ada's bot")
    await offboard(world, agent)
    assert (await erase(world, agent)).json()["display_name"] is None
    assert (await world.api.get(path(owner, ""))).json()["display_name"] == "Ada"
    assert in_days(0) > (await world.api.get(path(agent, ""))).json()["erased_at"]


async def test_of_erasing_and_reinstating_at_once_one_happens(world: World) -> None:
    for _ in range(5):
        person = await world.person(display_name="Ada")
        await offboard(world, person)
        erasing, reinstating = await asyncio.gather(
            erase(world, person), world.api.post(path(person, "/reinstate"))
        )
        shown = (await world.api.get(path(person, ""))).json()
        outcome = (erasing.status_code, reinstating.status_code, shown["status"], shown["display_name"])
        assert outcome in {(200, 409, "offboarded", None), (409, 200, "active", "Ada")}


async def test_two_erasures_at_once_are_one(world: World) -> None:
    person = await world.person(display_name="Ada")
    await offboard(world, person)
    first, second = await asyncio.gather(erase(world, person), erase(world, person))
    assert (first.status_code, second.status_code, first.json()) == (200, 200, second.json())
    assert (await world.actions(person.id)).count("identity.erase") == 1
