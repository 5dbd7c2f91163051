"""Groups of a directory: made, renamed, filled and ended; what they were granted follows who is in them."""

import asyncio
from typing import Any

import httpx2
import pytest

from app.adapters.scim import groups
from app.models.access import Policy
from tests.adapters.scim.conftest import NewScim, patch, provider_of, user
from tests.features.principals import (
    Json,
    Sessions,
    Versions,
    events,
    fresh,
    grant,
    group,
    history,
    person,
    plain,
)

GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
BULK = "urn:ietf:params:scim:api:messages:2.0:BulkRequest"
ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"


def team(name: str, *members: str, **attributes: Any) -> Json:
    """A group as a directory sends it."""
    return {
        "schemas": [GROUP],
        "displayName": name,
        "members": [{"value": id} for id in members],
        **attributes,
    }


async def people(scim: httpx2.AsyncClient, *names: str) -> list[str]:
    """The ids of new users."""
    ids = []
    for name in names:
        answer = await scim.post("Users", json=user(name))
        assert answer.status_code == 201, answer.text
        ids.append(answer.json()["id"])
    return ids


async def create(scim: httpx2.AsyncClient, body: Json) -> Json:
    answer = await scim.post("Groups", json=body)
    assert answer.status_code == 201, answer.text
    shown: Json = answer.json()
    return shown


async def change(scim: httpx2.AsyncClient, shown: Json, *operations: Json) -> set[str]:
    """Who is in a group after a PATCH."""
    answer = await scim.patch(f"Groups/{shown['id']}", json=patch(*operations))
    assert (answer.status_code, answer.content) == (204, b""), answer.text
    return await members(scim, shown)


async def members(scim: httpx2.AsyncClient, shown: Json) -> set[str]:
    answer = await scim.get(f"Groups/{shown['id']}")
    return {member["value"] for member in answer.json().get("members", [])}


def refused(answer: httpx2.Response, status: int, scim_type: str | None = None) -> str:
    """What is said of a request that was refused with a SCIM error."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert (body["schemas"], body["status"], body.get("scimType")) == ([ERROR], str(status), scim_type)
    return str(body["detail"])


async def test_a_group_is_made_shown_renamed_and_ended(
    scim: httpx2.AsyncClient, api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    ann, bob = await people(scim, "ann", "bob")
    shown = await create(scim, team("Platform", ann, externalId="ext-1"))
    url = f"http://127.0.0.1:8080/scim/v2/Groups/{shown['id']}"
    assert (shown["meta"]["location"], shown["externalId"]) == (url, "ext-1")
    (member,) = shown["members"]
    where = f"http://127.0.0.1:8080/scim/v2/Users/{ann}"
    assert member == {"value": ann, "$ref": where, "type": "User"}
    assert (await scim.get(f"Groups/{shown['id']}")).json() == shown
    (own,) = (await scim.get(f"Users/{ann}")).json()["groups"]
    assert own == {"value": shown["id"], "$ref": url, "display": "Platform", "type": "direct"}
    ours = (await api.get(f"/api/v1/groups/{shown['id']}")).json()
    assert (ours["source"], ours["provider_id"], ours["name"]) == ("scim", provider_of(scim), "Platform")

    # A name is one of a directory's, whatever its case; of another's or of ours it may be the same.
    await group(api, name="platform")
    refused(await scim.post("Groups", json=team("PLATFORM")), 409, "uniqueness")
    other = await create(scim, team("Other"))
    for body, status, why in (
        (patch({"op": "replace", "path": "displayName", "value": "platform"}), 409, "uniqueness"),
        (patch({"op": "replace", "path": "displayName", "value": "n" * 201}), 400, "invalidValue"),
        (patch({"op": "remove", "path": "displayName"}), 400, "mutability"),
        (patch({"op": "add", "path": "members", "value": [{"value": other["id"]}]}), 400, "invalidValue"),
        (patch({"op": "add", "path": "members", "value": [ann]}), 400, "invalidValue"),
        (patch({"op": "add", "path": "members", "value": "all"}), 400, "invalidValue"),
        (patch({"op": "replace", "path": f'members[value eq "{ann}"].value', "value": bob}), 400, "mutability"),
        (patch({"op": "replace", "path": "id", "value": ann}), 400, "mutability"),
    ):  # fmt: skip
        refused(await scim.patch(f"Groups/{other['id']}", json=body), status, why)
    assert (await scim.get(f"Groups/{other['id']}")).json() == other

    # Okta renames without a path, Entra ID with one; either may give the external id.
    value = {"id": other["id"], "displayName": "Data", "externalId": "ext-2"}
    await change(scim, other, {"op": "replace", "value": value})
    await change(scim, other, {"op": "Replace", "path": "displayName", "value": "Analytics"})
    renamed = (await scim.get(f"Groups/{other['id']}")).json()
    assert (renamed["displayName"], renamed["externalId"]) == ("Analytics", "ext-2")
    assert renamed["meta"]["version"] != other["meta"]["version"]
    put = await scim.put(f"Groups/{other['id']}", json=team("Analytics", bob))
    assert put.status_code == 200
    assert "externalId" not in put.json()
    assert [member["value"] for member in put.json()["members"]] == [bob]
    again = await scim.put(f"Groups/{other['id']}", json=team("Analytics", bob))
    assert again.json() == put.json()

    assert (await scim.delete(f"Groups/{other['id']}")).status_code == 204
    for method in ("GET", "PATCH", "DELETE"):
        refused(
            await scim.request(method, f"Groups/{other['id']}", json=patch({"op": "add", "value": {}})), 404
        )
    assert "groups" not in (await scim.get(f"Users/{bob}")).json()
    assert (await create(scim, team("Analytics")))["id"] != other["id"]
    happened = await events(sessions, other)
    assert [action for action, _ in happened if action.startswith("group.")] == [
        "group.create", "group.update", "group.update", "group.update", "group.change_members", "group.end",
    ]  # fmt: skip
    assert dict(happened)["group.end"]["removed_members"] == [bob]


async def test_members_come_and_go_as_directories_say_it(
    scim: httpx2.AsyncClient, new_scim: NewScim, api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    ann, bob, cyd, dan = await people(scim, "ann", "bob", "cyd", "dan")
    (stranger,) = await people(await new_scim("elsewhere"), "eve")
    by_hand = (await person(api))["id"]
    shown = await create(scim, team("Team"))
    add, remove, replace = "Add", "Remove", "Replace"
    values = [{"value": ann}, {"value": bob, "display": "whoever", "type": "User"}]
    assert await change(scim, shown, {"op": add, "path": "members", "value": values}) == {ann, bob}
    # Who is in it already is let be; one object is as good as a list of one.
    assert await change(scim, shown, {"op": add, "path": "members", "value": {"value": ann}}) == {ann, bob}
    # As Entra ID removes, either way, and as Okta does.
    assert await change(scim, shown, {"op": remove, "path": "members", "value": [{"value": ann}]}) == {bob}
    assert await change(scim, shown, {"op": add, "value": {"members": [{"value": ann}]}}) == {ann, bob}
    assert await change(scim, shown, {"op": remove, "path": f'members[value eq "{bob}"]'}) == {ann}
    assert await change(scim, shown, {"op": remove, "path": f'members[value eq "{bob}"]'}) == {ann}
    several = [{"value": bob}, {"value": cyd}, {"value": bob}]
    assert await change(scim, shown, {"op": replace, "path": "members", "value": several}) == {bob, cyd}
    chosen = {"op": remove, "path": f'{GROUP}:members[display sw "B" or value eq "{dan}"]'}
    steps: list[Json] = [{"op": add, "path": "members", "value": [{"value": dan}]}, chosen]
    assert await change(scim, shown, *steps) == {cyd}
    steps = [{"op": remove, "path": "members"}, {"op": add, "path": "members", "value": [{"value": ann}]}]
    assert await change(scim, shown, *steps) == {ann}
    steps = [{"op": add, "path": "members", "value": [{"value": bob}]},
             {"op": remove, "path": "members", "value": [{"value": bob}]}]  # fmt: skip
    assert await change(scim, shown, *steps) == {ann}
    assert await change(scim, shown, {"op": replace, "path": "members", "value": []}) == set()

    # Somebody else's people are nobody, and then nothing of the request is done.
    for id in (stranger, by_hand, "idn_01jdpnwz00e008000000000000"):
        value = {"members": [{"value": ann}, {"value": id}], "displayName": "Changed"}
        detail = refused(await scim.patch(f"Groups/{shown['id']}", json=patch({"op": "add", "value": value})),
                         400, "invalidValue")  # fmt: skip
        assert id in detail
        refused(await scim.put(f"Groups/{shown['id']}", json=team("Changed", ann, id)), 400, "invalidValue")
        refused(await scim.post("Groups", json=team("New", id)), 400, "invalidValue")
    assert (await scim.get(f"Groups/{shown['id']}")).json()["displayName"] == "Team"
    # Who is offboarded is passed over: a directory may be behind.
    await scim.patch(f"Users/{bob}", json=patch({"op": "Replace", "path": "active", "value": "False"}))
    await scim.delete(f"Users/{cyd}")
    wanted = [{"value": id} for id in (ann, bob, cyd)]
    assert await change(scim, shown, {"op": add, "path": "members", "value": wanted}) == {ann}
    told = [changes for action, changes in await events(sessions, shown) if action == "group.change_members"]
    assert told[-1] == {"added": [ann], "skipped": sorted([bob, cyd])}

    # Whom an administrator put there is not the directory's to see or to take out.
    path = f"/api/v1/groups/{shown['id']}/members/{by_hand}"
    assert (await api.put(path)).status_code == 201
    assert await change(scim, shown, {"op": "replace", "path": "members", "value": [{"value": dan}]}) == {dan}
    assert (await api.get(path)).status_code == 200


async def test_who_asks_for_it_is_shown_what_a_change_came_to(scim: httpx2.AsyncClient) -> None:
    ann, bob = await people(scim, "ann", "bob")
    shown = await create(scim, team("Team", ann))
    body = patch({"op": "add", "path": "members", "value": [{"value": bob}]})
    answer = await scim.patch(f"Groups/{shown['id']}?attributes=members.value", json=body)
    assert [member["value"] for member in answer.json()["members"]] == [ann, bob]
    # What members are called is told who asks, of each of them.
    answer = await scim.get(f"Groups/{shown['id']}?attributes=members.display")
    assert answer.json()["members"] == [{"display": "ann"}, {"display": "bob"}]
    (listed,) = (await scim.get("Groups")).json()["Resources"]
    users = "http://127.0.0.1:8080/scim/v2/Users"
    assert listed["members"] == [
        {"value": id, "$ref": f"{users}/{id}", "type": "User"} for id in (ann, bob)
    ]  # fmt: skip
    answer = await scim.patch(f"Groups/{shown['id']}?excludedAttributes=members", json=body)
    assert (answer.status_code, "members" in answer.json()) == (200, False)
    for query in ("Groups/{id}?excludedAttributes=members", "Groups?excludedAttributes=members"):
        answer = await scim.get(query.format(id=shown["id"]))
        assert "displayName" in answer.text
        assert "members" not in answer.text

    # A tag that is ours is heeded.
    old, now = shown["meta"]["version"], (await scim.get(f"Groups/{shown['id']}")).json()["meta"]["version"]
    for method, status in (("PATCH", 204), ("PUT", 200), ("DELETE", 204)):
        sent = (
            team("Team")
            if method == "PUT"
            else patch({"op": "replace", "path": "externalId", "value": method})
        )
        refused(
            await scim.request(method, f"Groups/{shown['id']}", json=sent, headers={"If-Match": old}), 412
        )
        answer = await scim.request(method, f"Groups/{shown['id']}", json=sent, headers={"If-Match": now})
        assert answer.status_code == status
        now = answer.headers.get("etag", now)


async def test_a_bulk_request_makes_people_and_puts_them_into_groups(scim: httpx2.AsyncClient) -> None:
    kept = await create(scim, team("Kept"))
    ann = [{"value": "bulkId:ann"}]
    operations = [
        {"method": "POST", "path": "/Users", "bulkId": "ann", "data": user("ann")},
        {"method": "POST", "path": "/Groups", "bulkId": "team", "data": team("Team") | {"members": ann}},
        {"method": "PATCH", "path": f"/Groups/{kept['id']}",
         "data": patch({"op": "add", "path": "members", "value": ann})},
        {"method": "PUT", "path": "/Groups/bulkId:team", "data": team("Renamed") | {"members": ann}},
        {"method": "POST", "path": "/Groups", "bulkId": "other", "data": team("RENAMED")},
    ]  # fmt: skip
    answer = await scim.post("Bulk", json={"schemas": [BULK], "Operations": operations})
    done = answer.json()["Operations"]
    assert [one["status"] for one in done] == ["201", "201", "200", "200", "409"], answer.text
    id = done[0]["location"].rpartition("/")[2]
    assert await members(scim, kept) == {id}
    groups = (await scim.get(f"Users/{id}")).json()["groups"]
    assert [group["display"] for group in groups] == ["Kept", "Renamed"]


async def test_who_joins_and_leaves_in_one_bulk_request_has_been_a_member(
    scim: httpx2.AsyncClient, sessions: Sessions
) -> None:
    leaver, stays = await people(scim, "leaver", "stays")
    kept, ended = [await create(scim, team(name)) for name in ("Kept", "Ended")]
    both = {"op": "add", "path": "members", "value": [{"value": leaver}, {"value": stays}]}
    operations = [
        {"method": "PATCH", "path": f"/Groups/{kept['id']}", "data": patch(both)},
        {"method": "PATCH", "path": f"/Groups/{ended['id']}", "data": patch(both)},
        {"method": "DELETE", "path": f"/Users/{leaver}"},
        {"method": "DELETE", "path": f"/Groups/{ended['id']}"},
    ]
    answer = await scim.post("Bulk", json={"schemas": [BULK], "Operations": operations})
    assert [one["status"] for one in answer.json()["Operations"]] == ["200", "200", "204", "204"], answer.text
    assert await members(scim, kept) == {stays}
    assert [current for _, current in await history(sessions, "membership")].count(True) == 1
    assert len(await history(sessions, "membership")) == 4


async def test_no_change_of_members_loses_another(scim: httpx2.AsyncClient, sessions: Sessions) -> None:
    ids = await people(scim, *(f"user{number}" for number in range(12)))
    shown = await create(scim, team("Team", *ids[:6]))

    async def turn(place: int) -> int:
        op: Json = {"op": "remove", "path": f'members[value eq "{ids[place]}"]'}
        if place >= 6:
            op = {"op": "add", "path": "members", "value": [{"value": ids[place]}]}
        return (await scim.patch(f"Groups/{shown['id']}", json=patch(op))).status_code

    assert await asyncio.gather(*(turn(place) for place in range(12))) == [204] * 12
    assert await members(scim, shown) == set(ids[6:])
    kept = [content["identity_id"] for content, current in await history(sessions, "membership") if current]
    assert sorted(kept) == sorted(str(plain({"id": id})) for id in ids[6:])


async def test_directories_see_and_touch_only_their_own_groups(
    scim: httpx2.AsyncClient, new_scim: NewScim, api: httpx2.AsyncClient
) -> None:
    theirs = await create(await new_scim("elsewhere"), team("Theirs"))
    ours = await group(api)
    assert (await scim.get("Groups")).json()["totalResults"] == 0
    for id in (theirs["id"], ours["id"], "grp_x", "idn_01jdpnwz00e008000000000000"):
        refused(await scim.get(f"Groups/{id}"), 404)
        refused(await scim.put(f"Groups/{id}", json=team("Mine")), 404)
        refused(await scim.patch(f"Groups/{id}", json=patch({"op": "remove", "path": "members"})), 404)
        refused(await scim.delete(f"Groups/{id}"), 404)


async def test_what_a_group_was_granted_follows_who_is_in_it(
    scim: httpx2.AsyncClient, api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    (ann,) = await people(scim, "ann")
    shown = await create(scim, team("Team"))
    given = await grant(api, {"id": shown["id"]})
    versions = Versions(sessions, {"id": ann}, {"id": shown["id"]}, given)
    # Every decision rests on the versions of who asks and of the grant: what moves them is admitted no more.
    for operation in (
        {"op": "add", "path": "members", "value": [{"value": ann}]},
        {"op": "remove", "path": f'members[value eq "{ann}"]'},
    ):
        await versions.look()
        await change(scim, shown, operation)
        assert await versions.moved() == {ann}
    await change(scim, shown, {"op": "add", "path": "members", "value": [{"value": ann}]})
    await versions.look()
    assert (await scim.delete(f"Groups/{shown['id']}")).status_code == 204
    assert await versions.moved() == {ann, shown["id"], given["id"]}
    assert (await api.get(f"/api/v1/grants/{given['id']}")).status_code == 404


async def test_a_group_is_changed_without_its_members_being_read(
    scim: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, bob = await people(scim, "ann", "bob")
    shown = await create(scim, team("Team", ann))

    async def read(*_: Any) -> None:
        raise AssertionError

    with monkeypatch.context() as patched:
        patched.setattr(groups, "_members", read)
        for operation in (
            {"op": "add", "path": "members", "value": [{"value": bob}]},
            {"op": "remove", "path": f'members[value eq "{ann}"]'},
            {"op": "replace", "value": {"displayName": "Renamed"}},
        ):
            answer = await scim.patch(f"Groups/{shown['id']}", json=patch(operation))
            assert answer.status_code == 204, answer.text
        for path in (f"Groups/{shown['id']}", "Groups", ""):
            answer = await scim.get(path, params={"excludedAttributes": "members"})
            assert answer.status_code == 200, answer.text
    assert await members(scim, shown) == {bob}
    with monkeypatch.context() as patched:
        patched.setattr(groups, "_members", read)
        assert (await scim.delete(f"Groups/{shown['id']}")).status_code == 204


async def test_no_directory_makes_a_group_that_a_policy_lets_approve(
    scim: httpx2.AsyncClient, sessions: Sessions
) -> None:
    named, loose = await create(scim, team(fresh("approvers"))), fresh("approvers")
    harmless = await create(scim, team(fresh("harmless")))
    dotted, sigma = fresh("admins"), fresh("\u039f\u03a3") + "\u03a3"
    texts = [
        f'@require_approval("{name}") forbid (principal, action, resource);'
        for name in (named["displayName"], loose, dotted, sigma)
    ]
    async with sessions() as session:
        session.add_all(
            Policy(
                name=fresh("policy"), text=text, status="published", version=1, published_text=text,
                published_mode="enforce",
            )
            for text in texts
        )  # fmt: skip
        await session.commit()

    def renamed(name: str) -> Json:
        return patch({"op": "replace", "path": "displayName", "value": name})

    for answer in (
        await scim.post("Groups", json=team(loose.upper())),
        await scim.patch(f"Groups/{harmless['id']}", json=renamed(loose)),
        await scim.put(f"Groups/{harmless['id']}", json=team(loose)),
        await scim.patch(f"Groups/{named['id']}", json=renamed(fresh("another"))),
    ):
        assert "grants.write" in refused(answer, 403)
    # A name is the approvers' when the database says so, which finds the group that decides.
    for name in (dotted.replace("i", "\u0130"), sigma.replace("\u03a3", "\u03c3")):
        assert "grants.write" in refused(await scim.post("Groups", json=team(name)), 403)
    final = await create(scim, team(sigma.replace("\u03a3", "\u03c2")))
    assert "grants.write" in refused(await scim.put(f"Groups/{final['id']}", json=team(sigma)), 403)
    # Who is in one that has its name already follows the directory.
    (ann,) = await people(scim, "ann")
    answer = await scim.put(f"Groups/{named['id']}", json=team(named["displayName"].upper(), ann))
    assert answer.status_code == 200, answer.text
