"""A token can be renamed and narrowed, and nothing else."""

from typing import Any

import pytest

from app.lib.ids import TOKEN, parse_id
from tests.features.tokens.world import World, in_days, pointers

TOKENS = "/api/v1/tokens"


def listed(*servers: str, risk: list[str] | None = None) -> dict[str, Any]:
    tools = {"kind": "all"} if risk is None else {"kind": "risk", "risk": risk}
    return {"kind": "listed", "entries": [{"servers": {"kind": "ids", "ids": list(servers)}, "tools": tools}]}


async def test_narrowing_moves_the_version_and_keeps_the_past(world: World) -> None:
    server = await world.server()
    token = await world.issue(await world.person())
    id = parse_id(TOKEN, token["id"])
    answer = await world.api.patch(
        f"{TOKENS}/{token['id']}", json={"scope": listed(server), "expires_at": in_days(1)}
    )
    assert answer.status_code == 200, answer.text
    narrowed = answer.json()
    assert narrowed["scope"]["entries"][0]["servers"]["ids"] == [server]
    assert narrowed["revision"] == 2
    assert answer.headers["ETag"] == '"2"'
    assert narrowed["name"] == token["name"]
    assert await world.version(id) == 2
    past = await world.sql(
        "SELECT content -> 'scope' ->> 'kind', valid_to IS NULL FROM object_versions"
        " WHERE object_id = :id ORDER BY version",
        id=id,
    )
    assert [tuple(row) for row in past] == [("grants", False), ("listed", True)]
    assert await world.actions(id) == ["token.issue", "token.update"]


async def test_wider_is_refused_and_named(world: World) -> None:
    server, other = await world.server(), await world.server()
    token = await world.issue(await world.person(), scope=listed(server, risk=["read"]))
    url = f"{TOKENS}/{token['id']}"
    assert pointers(await world.api.patch(url, json={"scope": {"kind": "grants"}})) == {"/scope"}
    assert pointers(await world.api.patch(url, json={"scope": listed(server)})) == {"/scope"}
    wider = {"scope": listed(server, other, risk=["read"]), "expires_at": in_days(30)}
    assert pointers(await world.api.patch(url, json=wider)) == {"/scope", "/expires_at"}
    assert await world.read(token) == token


@pytest.mark.parametrize(
    ("patch", "pointer"),
    [
        ({"name": None}, "/name"),
        ({"scope": None}, "/scope"),
        ({"expires_at": None}, "/expires_at"),
        ({"expires_at": in_days(-1)}, "/expires_at"),
        ({"identity_id": "idn_x"}, "/identity_id"),
        ({"ip_allow": []}, "/ip_allow"),
        ({"status": "active"}, "/status"),
    ],
)
async def test_what_cannot_be_written_is_named(world: World, patch: dict[str, Any], pointer: str) -> None:
    token = await world.issue(await world.person())
    assert pointers(await world.api.patch(f"{TOKENS}/{token['id']}", json=patch)) == {pointer}
    assert await world.read(token) == token


async def test_a_new_name_moves_no_version_and_stays_out_of_the_event(world: World) -> None:
    token = await world.issue(await world.person())
    id = parse_id(TOKEN, token["id"])
    answer = await world.api.patch(f"{TOKENS}/{token['id']}", json={"name": "Ada at home"})
    assert answer.json()["name"] == "Ada at home"
    assert await world.version(id) == 1
    events = await world.sql("SELECT row_to_json(e)::text FROM audit_events e")
    assert not any("Ada at home" in row[0] for row in events)


async def test_an_empty_patch_changes_nothing(world: World) -> None:
    token = await world.issue(await world.person())
    answer = await world.api.patch(f"{TOKENS}/{token['id']}", json={})
    assert answer.json() == token


async def test_children_do_not_outlive_an_earlier_expiry(world: World) -> None:
    person = await world.person()
    parent = await world.issue(person)
    child = await world.issue(person, parent_id=parent["id"], expires_at=in_days(5))
    short = await world.issue(person, parent_id=child["id"], expires_at=in_days(1))
    earlier = in_days(2)
    narrowed = (await world.api.patch(f"{TOKENS}/{parent['id']}", json={"expires_at": earlier})).json()
    assert (await world.read(child))["expires_at"] == narrowed["expires_at"]
    assert (await world.read(short))["expires_at"] == short["expires_at"]
    versions = [await world.version(parse_id(TOKEN, token["id"])) for token in (parent, child, short)]
    assert versions == [2, 2, 1]


async def test_if_match_holds_back_a_stale_patch(world: World) -> None:
    token = await world.issue(await world.person())
    url = f"{TOKENS}/{token['id']}"
    assert (await world.api.patch(url, json={"name": "b"}, headers={"If-Match": '"1"'})).status_code == 200
    assert (await world.api.patch(url, json={"name": "c"}, headers={"If-Match": '"1"'})).status_code == 412


async def test_an_ended_token_stays_as_it_is(world: World) -> None:
    token = await world.issue(await world.person())
    url = f"{TOKENS}/{token['id']}"
    await world.api.post(f"{url}/revoke", json={"reason": "lost"})
    for answer in (
        await world.api.patch(url, json={"name": "b"}),
        await world.api.post(f"{url}/rotate", json={}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (409, "token_ended")
