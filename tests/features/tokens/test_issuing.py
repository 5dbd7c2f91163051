"""Issuing shows a secret once, stores only its HMAC, and never exceeds the holder's access."""

from typing import Any

import httpx2
import pytest

from app.crypto.keys import Peppers
from app.domain.token_format import SCOPED_TOKEN, parse_credential
from app.lib.ids import IDENTITY, SERVER, TOKEN, format_id, new_id, parse_id
from tests.api import ApiAs
from tests.features.tokens.world import World, in_days, pointers

TOKENS = "/api/v1/tokens"


def listed(*servers: str, names: list[str] | None = None) -> dict[str, Any]:
    tools = {"kind": "all"} if names is None else {"kind": "names", "names": names}
    return {"kind": "listed", "entries": [{"servers": {"kind": "ids", "ids": list(servers)}, "tools": tools}]}


async def test_a_token_is_issued_with_its_secret_shown_once(world: World, peppers: Peppers) -> None:
    person, server = await world.person(), await world.server()
    order = world.order(person, scope=listed(server), ip_allow=["203.0.113.0/24"])
    answer = await world.api.post(TOKENS, json=order)
    assert answer.status_code == 201
    assert answer.headers["Cache-Control"] == "no-store"
    body = answer.json()
    token, secret = body["token"], body["secret"]
    assert answer.headers["Location"] == f"{TOKENS}/{token['id']}"
    assert answer.headers["ETag"] == '"1"'
    assert token["status"] == "active"
    assert token["ip_allow"] == ["203.0.113.0/24"]
    assert token["scope"]["entries"][0]["resources"] is True
    assert secret not in str(body["connect"])
    again = await world.api.get(f"{TOKENS}/{token['id']}")
    assert again.json() == token
    credential = parse_credential(secret, SCOPED_TOKEN)
    assert credential is not None
    assert credential.id == parse_id(TOKEN, token["id"])
    ((digest, key_id),) = await world.sql("SELECT digest, pepper_key_id FROM token_secrets")
    assert peppers.matches(key_id, digest, credential.digest_input)


async def test_the_secret_is_nowhere_in_the_database(world: World) -> None:
    person = await world.person()
    answer = await world.api.post(TOKENS, json=world.order(person))
    secret = answer.json()["secret"][-49:-6]
    tables = await world.sql("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    for (table,) in tables:
        rows = await world.sql(f'SELECT row_to_json(t)::text FROM "{table}" t')
        assert not any(secret in row[0] for row in rows), table


async def test_issuing_makes_a_version_a_history_and_an_event(world: World) -> None:
    token = await world.issue(await world.person())
    id = parse_id(TOKEN, token["id"])
    assert await world.version(id) == 1
    assert await world.actions(id) == ["token.issue"]
    ((kind, content),) = await world.sql(
        "SELECT kind, content FROM object_versions WHERE object_id = :id", id=id
    )
    assert kind == "token_scope"
    assert content["scope"] == {"kind": "grants"}


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"expires_at": in_days(-1)}, "/expires_at"),
        ({"expires_at": in_days(5000)}, "/expires_at"),
        ({"expires_at": "2027-01-01T00:00:00"}, "/expires_at"),
        ({"expires_at": 1_900_000_000}, "/expires_at"),
        ({"expires_at": None}, "/expires_at"),
        ({"identity_id": format_id(IDENTITY, new_id())}, "/identity_id"),
        ({"identity_id": format_id(SERVER, new_id())}, "/identity_id"),
        ({"parent_id": format_id(TOKEN, new_id())}, "/parent_id"),
        ({"scope": listed(format_id(SERVER, new_id()))}, "/scope/entries/0/servers/ids/0"),
        ({"scope": {"kind": "everything"}}, "/scope"),
        ({"scope": None}, "/scope"),
        ({"ip_allow": ["203.0.113.7/24"]}, "/ip_allow/0"),
        ({"ip_allow": ["fe80::1%eth0"]}, "/ip_allow/0"),
        ({"ip_allow": ["localhost"]}, "/ip_allow/0"),
        ({"name": ""}, "/name"),
        ({"name": "x" * 201}, "/name"),
        ({"status": "active"}, "/status"),
    ],
)
async def test_a_bad_order_names_the_field(world: World, change: dict[str, Any], pointer: str) -> None:
    order = world.order(await world.person()) | change
    assert pointers(await world.api.post(TOKENS, json=order)) == {pointer}
    assert await world.sql("SELECT 1 FROM tokens") == []


async def test_scope_and_expiry_are_never_defaulted(world: World) -> None:
    order = world.order(await world.person())
    del order["scope"], order["expires_at"]
    assert pointers(await world.api.post(TOKENS, json=order)) == {"/scope", "/expires_at"}


async def test_an_ended_server_is_not_there(world: World) -> None:
    server = await world.server()
    await world.sql("UPDATE servers SET ended_at = now()")
    answer = await world.api.post(TOKENS, json=world.order(await world.person(), scope=listed(server)))
    assert pointers(answer) == {"/scope/entries/0/servers/ids/0"}


@pytest.mark.parametrize("status", ["suspended", "offboarded"])
async def test_only_the_active_get_tokens(world: World, status: str) -> None:
    stopped = await world.person(status=status)
    for identity in (stopped, await world.agent(stopped)):
        answer = await world.api.post(TOKENS, json=world.order(identity))
        assert answer.status_code == 409
        assert answer.json()["code"] == "identity_not_active"


@pytest.mark.parametrize(
    ("role", "status"), [("issuer", 201), ("admin", 201), ("auditor", 403), ("provisioner", 403)]
)
async def test_issuing_needs_its_permission(world: World, api_as: ApiAs, role: str, status: int) -> None:
    client = await api_as(role)
    answer = await client.post(TOKENS, json=world.order(await world.person()))
    assert answer.status_code == status


async def test_attenuating_for_oneself_and_for_an_agent(world: World) -> None:
    person, server = await world.person(), await world.server()
    agent = await world.agent(person)
    parent = await world.issue(person, scope=listed(server))
    for holder in (person, agent):
        child = await world.issue(
            holder, parent_id=parent["id"], scope=listed(server, names=["read"]), expires_at=in_days(1)
        )
        assert (child["parent_id"], child["depth"]) == (parent["id"], 1)


async def attenuate(world: World, parent: dict[str, Any], identity: Any, **fields: Any) -> httpx2.Response:
    order = world.order(identity, parent_id=parent["id"], expires_at=in_days(1)) | fields
    return await world.api.post(TOKENS, json=order)


async def test_attenuating_never_widens(world: World) -> None:
    person, server, other = await world.person(), await world.server(), await world.server()
    stranger = await world.person()
    parent = await world.issue(person, scope=listed(server))
    assert pointers(await attenuate(world, parent, person)) == {"/scope"}
    assert pointers(await attenuate(world, parent, person, scope=listed(server, other))) == {"/scope"}
    assert pointers(await attenuate(world, parent, person, scope=listed(server), expires_at=in_days(8))) == {
        "/expires_at"
    }
    for foreign in (stranger, await world.agent(stranger)):
        assert pointers(await attenuate(world, parent, foreign, scope=listed(server))) == {"/identity_id"}


async def test_an_agent_cannot_attenuate_for_its_owner(world: World) -> None:
    person = await world.person()
    parent = await world.issue(await world.agent(person))
    assert pointers(await attenuate(world, parent, person)) == {"/identity_id"}


async def test_a_dead_parent_has_no_more_children(world: World) -> None:
    person = await world.person()
    parent = await world.issue(person)
    await world.api.post(f"{TOKENS}/{parent['id']}/revoke", json={"reason": "lost"})
    assert pointers(await attenuate(world, parent, person)) == {"/parent_id"}


async def test_at_most_five_tokens_stand_above_one(world: World) -> None:
    person = await world.person()
    token = await world.issue(person)
    for depth in range(1, 6):
        answer = await attenuate(world, token, person, expires_at=token["expires_at"])
        assert answer.status_code == 201
        token = answer.json()["token"]
        assert token["depth"] == depth
    assert pointers(await attenuate(world, token, person)) == {"/parent_id"}
