"""Reading for the snapshot: old rights never sit under a current version."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from app.domain.access import Question, Surroundings, decide
from app.domain.policy import GrantedIsAllowed
from app.features.access.reading import consistent, read_fleet, read_token
from app.kit.ids import new_id
from tests.features.access.world import Connection, World, call_row, make_world, writer_on

Withdrawal = Callable[[Connection, World], Awaitable[None]]


async def end_grant(connection: Connection, world: World) -> None:
    await connection.execute("UPDATE grants SET ended_at = now() WHERE id = $1", world.grant)
    await move(connection, world.grant)


async def revoke_token(connection: Connection, world: World) -> None:
    await connection.execute("UPDATE tokens SET revoked_at = now() WHERE id = $1", world.token)
    await move(connection, world.token)


async def suspend(connection: Connection, world: World) -> None:
    await connection.execute("UPDATE identities SET status = 'suspended' WHERE id = $1", world.person)
    await move(connection, world.person)


async def quarantine(connection: Connection, world: World) -> None:
    await connection.execute("UPDATE tools SET state = 'quarantined' WHERE server_id = $1", world.server)
    await move(connection, world.server)


async def move(connection: Connection, id: object) -> None:
    await connection.execute("UPDATE access_versions SET version = version + 1 WHERE id = $1", id)


class Interrupted:
    """A connection that lets a withdrawal commit elsewhere right after its n-th read."""

    def __init__(self, inner: Connection, after: int, withdraw: Callable[[], Awaitable[None]]) -> None:
        self._inner, self._left, self._withdraw = inner, after, withdraw

    async def fetch(self, *args: Any) -> Any:
        rows = await self._inner.fetch(*args)
        self._left -= 1
        if self._left == 0:
            await self._withdraw()
        return rows

    def transaction(self, **options: Any) -> Any:
        return self._inner.transaction(**options)


@pytest.mark.parametrize("withdrawal", [end_grant, revoke_token, suspend, quarantine])
async def test_a_withdrawal_between_any_two_reads_leaves_nothing_that_admission_takes(
    database_url: str, withdrawal: Withdrawal
) -> None:
    reader, other = await asyncpg.connect(database_url), await asyncpg.connect(database_url)
    async with writer_on(database_url) as writer:
        for after in range(1, 9):
            world = await make_world(other)

            async def withdraw(world: World = world) -> None:
                async with other.transaction():
                    await withdrawal(other, world)

            connection = Interrupted(reader, after, withdraw)
            async with consistent(connection):
                entry = await read_token(connection, world.token)
                fleet = await read_fleet(connection, {})
            assert entry is not None
            around = Surroundings(fleet.version, fleet.policy_version, GrantedIsAllowed())
            now = entry.token.expires_at - 3600
            decided = decide(Question(entry.token, fleet.servers[world.server], "get_time"), around, now)
            assert not decided.allowed or not await writer.write(call_row(world, decided))
    await reader.close()
    await other.close()


async def test_a_refresh_keeps_servers_that_did_not_change(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    first, second = await make_world(connection), await make_world(connection)
    async with consistent(connection):
        fleet = await read_fleet(connection, {})
    await quarantine(connection, first)
    async with consistent(connection):
        again = await read_fleet(connection, fleet.servers)
    assert again.servers[second.server] is fleet.servers[second.server]
    assert again.servers[first.server] is not fleet.servers[first.server]
    await connection.close()


async def test_a_schema_is_kept_in_memory_only_where_it_mirrors_arguments_into_headers(
    database_url: str,
) -> None:
    connection = await asyncpg.connect(database_url)
    world = await make_world(connection)
    schema = '{"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}'
    await connection.execute("UPDATE tools SET input_schema = $1 WHERE name = 'get_time'", schema)
    async with consistent(connection):
        fleet = await read_fleet(connection, {})
    tools = fleet.servers[world.server].tools
    assert tools["get_time"].header_schema == json.loads(schema)
    assert tools["set_time"].header_schema is None
    await connection.close()


async def test_tokens_that_are_alike_share_what_they_hold_and_never_an_older_state(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    world, second = await make_world(connection), new_id()
    entry = {"servers": {"kind": "all"}, "tools": {"kind": "names", "names": ["get_time"]}}
    scope = {"kind": "listed", "entries": [{**entry, "resources": False, "prompts": False}]}
    await connection.execute("UPDATE tokens SET scope = $1", json.dumps(scope))
    await connection.execute(
        "INSERT INTO tokens (id, identity_id, name, scope, expires_at)"
        " SELECT $1, identity_id, name, scope, expires_at FROM tokens",
        second,
    )
    await connection.execute("INSERT INTO access_versions (id, version) VALUES ($1, 1)", second)
    one, other = await read_token(connection, world.token), await read_token(connection, second)
    assert one is not None
    assert other is not None
    assert one.token.identity is other.token.identity
    assert one.token.scope is other.token.scope
    again = await read_token(connection, world.token)
    assert again is not None
    assert one.secrets[0].pepper_key_id is again.secrets[0].pepper_key_id

    await end_grant(connection, world)
    await connection.execute("""UPDATE tokens SET scope = '{"kind": "grants"}'""")
    later = await read_token(connection, world.token)
    assert later is not None
    assert later.token.identity.grants == ()
    assert later.token.scope != one.token.scope
    await connection.close()


class Noting:
    """A connection that notes what it is asked."""

    def __init__(self, inner: Connection) -> None:
        self._inner = inner
        self.asked: list[str] = []

    async def fetch(self, statement: str, *args: Any) -> Any:
        self.asked.append(statement)
        return await self._inner.fetch(statement, *args)


async def test_an_unknown_token_is_looked_for_as_long_as_a_known_one(database_url: str) -> None:
    inner = await asyncpg.connect(database_url)
    world = await make_world(inner)
    known, unknown = Noting(inner), Noting(inner)
    assert await read_token(known, world.token) is not None
    assert await read_token(unknown, new_id()) is None
    assert known.asked == unknown.asked
    await inner.close()
