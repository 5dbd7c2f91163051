"""Revoking ends a token and its descendants in one transaction, once, with an event for each."""

import asyncio
from typing import Any

import asyncpg
import pytest

from app.db.versions import CHANNEL
from app.features.tokens import queries
from app.lib.ids import GROUP, IDENTITY, TOKEN, format_id, new_id, parse_id
from app.models.identities import Group, GroupMember
from tests.api import ApiAs
from tests.features.tokens.world import World, in_days, pointers

TOKENS = "/api/v1/tokens"
REASON = {"reason": "laptop lost"}


async def chain(world: World, length: int) -> list[dict[str, Any]]:
    person = await world.person()
    tokens = [await world.issue(person)]
    for _ in range(length - 1):
        above = tokens[-1]
        tokens.append(await world.issue(person, parent_id=above["id"], expires_at=above["expires_at"]))
    return tokens


async def statuses(world: World, tokens: list[dict[str, Any]]) -> list[str]:
    return [(await world.read(token))["status"] for token in tokens]


async def test_revoking_ends_the_token_and_all_below(world: World) -> None:
    tokens = await chain(world, 4)
    answer = await world.api.post(f"{TOKENS}/{tokens[1]['id']}/revoke", json=REASON)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["changed"] is True
    assert body["revoked"] == {"tokens": [token["id"] for token in tokens[1:]], "in_flight": 0}
    assert body["token"]["status"] == "revoked"
    assert body["token"]["revoke_reason"] == "laptop lost"
    assert answer.headers["ETag"] == '"2"'
    assert await statuses(world, tokens) == ["active", "revoked", "revoked", "revoked"]
    for token in tokens[1:]:
        id = parse_id(TOKEN, token["id"])
        assert await world.version(id) == 2
        assert await world.actions(id) == ["token.issue", "token.revoke"]
    assert await world.sql("SELECT 1 FROM object_versions WHERE valid_to IS NULL") == [(1,)]


async def test_a_repeat_changes_nothing(world: World) -> None:
    (token,) = await chain(world, 1)
    url = f"{TOKENS}/{token['id']}/revoke"
    first = (await world.api.post(url, json=REASON)).json()
    again = (await world.api.post(url, json={"reason": "another"})).json()
    assert again == {"changed": False, "token": first["token"], "revoked": {"tokens": [], "in_flight": 0}}
    assert await world.version(parse_id(TOKEN, token["id"])) == 2


async def test_a_dry_run_says_what_would_end_and_ends_nothing(world: World) -> None:
    tokens = await chain(world, 2)
    answer = await world.api.post(f"{TOKENS}/{tokens[0]['id']}/revoke?dry_run=true", json=REASON)
    assert answer.json()["changed"] is True
    assert answer.json()["revoked"]["tokens"] == [token["id"] for token in tokens]
    body = {"filter": {"token_ids": [tokens[0]["id"]]}} | REASON
    bulk = (await world.api.post(f"{TOKENS}/bulk-revoke?dry_run=true", json=body)).json()
    assert bulk["revoked"]["tokens"] == [token["id"] for token in tokens]
    assert await statuses(world, tokens) == ["active", "active"]
    assert await world.version(parse_id(TOKEN, tokens[0]["id"])) == 1


async def test_other_workers_are_told_at_the_commit(world: World, database_url: str) -> None:
    (token,) = await chain(world, 1)
    notified: asyncio.Queue[str] = asyncio.Queue()
    listener = await asyncpg.connect(database_url)
    await listener.add_listener(CHANNEL, lambda *message: notified.put_nowait(str(message[-1])))
    await world.api.post(f"{TOKENS}/{token['id']}/revoke", json=REASON)
    assert parse_id(TOKEN, token["id"]).hex in await asyncio.wait_for(notified.get(), 50)
    await listener.close()


async def test_calls_that_are_running_are_counted(world: World) -> None:
    (token,) = await chain(world, 1)
    id, fresh, lost, done = parse_id(TOKEN, token["id"]), new_id(), new_id(), new_id()
    await world.sql("INSERT INTO worker_leases (worker_id) VALUES (:id)", id=fresh)
    await world.sql(
        "INSERT INTO worker_leases (worker_id, renewed_at) VALUES (:id, now() - interval '5 minutes')",
        id=lost,
    )
    insert = (
        "INSERT INTO audit_events (id, action, decision, actor_type, token_id, worker_id)"
        " VALUES (:id, 'tool.call', 'allow', 'identity', :token, :worker)"
    )
    for call, worker in ((new_id(), fresh), (done, fresh), (new_id(), lost)):
        await world.sql(insert, id=call, token=id, worker=worker)
    await world.sql(
        "INSERT INTO audit_events (id, action, actor_type, call_id) VALUES (:id, 'tool.result', 'identity', :call)",
        id=new_id(),
        call=done,
    )
    answer = await world.api.post(f"{TOKENS}/{token['id']}/revoke", json=REASON)
    assert answer.json()["revoked"]["in_flight"] == 1


async def test_no_revocation_waits_until_all_calls_of_a_day_are_counted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "_COUNTED", 6)
    tokens, worker = await chain(world, 2), new_id()
    await world.sql("INSERT INTO worker_leases (worker_id) VALUES (:id)", id=worker)
    for token in tokens:
        await world.sql(
            "INSERT INTO audit_events (id, action, decision, actor_type, token_id, worker_id)"
            " SELECT gen_random_uuid(), 'tool.call', 'allow', 'identity', :token, :worker FROM generate_series(1, 5)",
            token=parse_id(TOKEN, token["id"]),
            worker=worker,
        )
    answer = await world.api.post(f"{TOKENS}/{tokens[0]['id']}/revoke", json=REASON)
    assert answer.json()["revoked"]["in_flight"] == 6


async def test_bulk_revocation_ends_what_meets_every_condition(world: World) -> None:
    ada, bo = await world.person(), await world.person()
    server = await world.server()
    nowhere = {"kind": "listed", "entries": []}
    ada_grants, ada_nowhere = await world.issue(ada), await world.issue(ada, scope=nowhere)
    bo_grants = await world.issue(bo)
    body = {"filter": {"identity_id": format_id(IDENTITY, ada.id), "server_id": server}} | REASON
    answer = await world.api.post(f"{TOKENS}/bulk-revoke", json=body)
    assert answer.json() == {"changed": True, "revoked": {"tokens": [ada_grants["id"]], "in_flight": 0}}
    assert await statuses(world, [ada_grants, ada_nowhere, bo_grants]) == ["revoked", "active", "active"]
    again = (await world.api.post(f"{TOKENS}/bulk-revoke", json=body)).json()
    assert again == {"changed": False, "revoked": {"tokens": [], "in_flight": 0}}


async def test_bulk_revocation_by_group_ends_the_tokens_of_its_members(world: World) -> None:
    ada, bo = await world.person(), await world.person()
    group = Group(name="Engineers")
    await world.add(group)
    await world.add(GroupMember(group_id=group.id, identity_id=ada.id), versioned=False)
    tokens = [await world.issue(ada), await world.issue(bo)]
    body = {"filter": {"group_id": format_id(GROUP, group.id)}} | REASON
    await world.api.post(f"{TOKENS}/bulk-revoke", json=body)
    assert await statuses(world, tokens) == ["revoked", "active"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"filter": {}} | REASON, "/filter"),
        ({"filter": {"token_ids": None}} | REASON, "/filter"),
        (REASON, "/filter"),
        ({"filter": {"everything": True}} | REASON, "/filter/everything"),
        ({"filter": {"token_ids": ["idn_x"]}} | REASON, "/filter/token_ids/0"),
        ({"filter": {"token_ids": []}, "reason": ""}, "/reason"),
    ],
)
async def test_a_bad_bulk_revocation_is_named_and_ends_nothing(
    world: World, body: dict[str, Any], pointer: str
) -> None:
    tokens = await chain(world, 1)
    assert pointers(await world.api.post(f"{TOKENS}/bulk-revoke", json=body)) == {pointer}
    assert await statuses(world, tokens) == ["active"]


async def test_no_ids_are_no_tokens(world: World) -> None:
    tokens = await chain(world, 1)
    answer = await world.api.post(f"{TOKENS}/bulk-revoke", json={"filter": {"token_ids": []}} | REASON)
    assert answer.json()["changed"] is False
    assert await statuses(world, tokens) == ["active"]


async def test_what_is_not_there_is_404(world: World) -> None:
    answer = await world.api.post(f"{TOKENS}/{format_id(TOKEN, new_id())}/revoke", json=REASON)
    assert answer.status_code == 404


@pytest.mark.parametrize(("role", "status"), [("issuer", 200), ("auditor", 403), ("provisioner", 403)])
async def test_revoking_needs_its_permission(world: World, api_as: ApiAs, role: str, status: int) -> None:
    (token,) = await chain(world, 1)
    client = await api_as(role)
    assert (await client.post(f"{TOKENS}/{token['id']}/revoke", json=REASON)).status_code == status


async def test_nothing_attenuated_while_the_parent_is_revoked_stays_alive(world: World) -> None:
    person = await world.person()
    parent = await world.issue(person)
    order = world.order(person, parent_id=parent["id"], expires_at=in_days(1))

    async def attenuate() -> int:
        return (await world.api.post(TOKENS, json=order)).status_code

    async def revoke() -> int:
        return (await world.api.post(f"{TOKENS}/{parent['id']}/revoke", json=REASON)).status_code

    answers = await asyncio.gather(
        *(attenuate() for _ in range(8)), revoke(), *(attenuate() for _ in range(8))
    )
    assert set(answers) <= {200, 201, 422}
    assert await world.sql("SELECT 1 FROM tokens WHERE revoked_at IS NULL") == []
