"""Reads for the snapshot: outdated rights never have a current version."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from app.access.policy.evaluator import Evaluator, Rules
from app.access.reading import consistent, read_fleet, read_token, read_tokens
from app.access.snapshot import PolicySets, ReadSet
from app.domain.access import FLEET_ID, POLICY_SET_ID, AccessRequest, PolicyContext, decide
from app.domain.arguments import ArgumentKind, ArgumentType
from app.domain.policy import GrantedIsAllowed, PolicyEvaluator
from app.lib.ids import new_id
from tests.admission.world import Connection, World, call_row, make_world, writer_on

_GRANT = (
    "INSERT INTO grants (id, {}, servers, tools, resources, prompts)"
    """ VALUES ($1, $2, '{{"kind": "all"}}', '{{"kind": "all"}}', false, false)"""
)
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


async def forbid(connection: Connection, world: World) -> None:
    text = f'forbid (principal, action, resource) unless {{ resource.hasTag("{world.server}") }};'
    await publish(connection, text)
    await move(connection, POLICY_SET_ID)


async def publish(connection: Connection, text: str) -> None:
    await connection.execute(
        "INSERT INTO policies (id, name, text, status, version, published_text, published_mode)"
        " VALUES ($1, $2, $3, 'published', 1, $3, 'enforce')",
        new_id(), new_id().hex, text,
    )  # fmt: skip


async def move(connection: Connection, id: object) -> None:
    await connection.execute("UPDATE access_versions SET version = version + 1 WHERE id = $1", id)


class Interrupted:
    """A connection that lets a revocation commit elsewhere right after its n-th read."""

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


@pytest.mark.parametrize("withdrawal", [end_grant, revoke_token, suspend, quarantine, forbid])
async def test_a_withdrawal_between_any_two_reads_leaves_nothing_that_admission_takes(
    database_url: str, withdrawal: Withdrawal
) -> None:
    reader, other = await asyncpg.connect(database_url), await asyncpg.connect(database_url)
    async with writer_on(database_url) as writer:
        for after in range(1, 10):
            world, sets = await make_world(other), PolicySets(Rules())

            async def withdraw(world: World = world) -> None:
                async with other.transaction():
                    await withdrawal(other, world)

            connection = Interrupted(reader, after, withdraw)
            async with consistent(connection):
                entry = await read_token(connection, world.token)
                fleet = (await read_fleet(connection, None)).build()
                policies = await sets.read(connection, fleet.policy_version)
            assert entry is not None
            context = PolicyContext(fleet.version, fleet.policy_version, await sets.evaluator(policies))
            now = entry.token.expires_at - 3600
            decided = decide(
                AccessRequest(entry.token, fleet.servers[world.server], "get_time"), context, now
            )
            assert not decided.allowed or not await writer.write(call_row(world, decided))
    await reader.close()
    await other.close()


async def test_a_refresh_keeps_servers_that_did_not_change(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    first, second = await make_world(connection), await make_world(connection)
    async with consistent(connection):
        fleet = (await read_fleet(connection, None)).build()
    await quarantine(connection, first)
    async with consistent(connection):
        again = (await read_fleet(connection, fleet)).build()
    assert again.servers[second.server] is fleet.servers[second.server]
    assert again.servers[first.server] is not fleet.servers[first.server]
    await connection.close()


async def test_other_servers_than_those_looked_at_are_read_when_one_is_added_relabelled_or_ended(
    database_url: str,
) -> None:
    connection = await asyncpg.connect(database_url)
    first, second = await make_world(connection), await make_world(connection)
    async with consistent(connection):
        fleet = (await read_fleet(connection, None)).build()
    await quarantine(connection, first)
    await quarantine(connection, second)
    async with consistent(connection):
        again = (await read_fleet(connection, fleet, [first.server])).build()
    assert again.servers[first.server].version > fleet.servers[first.server].version
    assert again.servers[second.server] is fleet.servers[second.server]
    assert again.by_slug == {server.slug: server for server in again.servers.values()}
    third = await make_world(connection)
    await move(connection, FLEET_ID)
    async with consistent(connection):
        again = (await read_fleet(connection, fleet, [first.server])).build()
    assert third.server in again.servers
    assert again.servers[second.server].version > fleet.servers[second.server].version
    await connection.close()


async def test_what_policies_read_is_read_with_the_versions_that_move_when_it_changes(
    database_url: str,
) -> None:
    connection = await asyncpg.connect(database_url)
    world, owner, group, schema = await make_world(connection), new_id(), new_id(), {"a": {"type": "integer"}}
    for statement, *values in (
        (
            (
                "INSERT INTO identities (id, kind, user_name, attributes)"
                """ VALUES ($1, 'person', 'o', '{"b": "1", "a": "2"}')"""
            ),
            owner,
        ),
        ("UPDATE identities SET kind = 'agent', owner_id = $2 WHERE id = $1", world.person, owner),
        ("INSERT INTO groups (id, name) VALUES ($1, 'leads')", group),
        ("INSERT INTO group_members (id, group_id, identity_id) VALUES ($1, $1, $2)", group, owner),
        (
            (
                "INSERT INTO grants (id, group_id, servers, tools, resources, prompts)"
                " SELECT $1, $2, servers, tools, true, true FROM grants"
            ),
            owner,
            group,
        ),
        ("INSERT INTO access_versions (id, version) VALUES ($1, 3), ($2, 4)", owner, group),
        ("UPDATE tools SET input_schema = $1 WHERE name = 'get_time'", json.dumps({"properties": schema})),
    ):
        await connection.execute(statement, *values)
    async with consistent(connection):
        entry = await read_token(connection, world.token)
        fleet = (await read_fleet(connection, None)).build()
    assert entry is not None
    answers_for_it = entry.token.identity.owner
    assert answers_for_it is not None
    assert (entry.token.identity.kind, entry.token.identity.attributes) == ("agent", ())
    assert (answers_for_it.kind, answers_for_it.attributes) == ("person", (("a", "2"), ("b", "1")))
    assert (answers_for_it.version, answers_for_it.groups) == (3, ((group, 4),))
    # An agent has none of its owner's rights.
    assert answers_for_it.grants == ()
    assert [grant.id for grant in entry.token.identity.grants] == [world.grant]
    parameters = fleet.servers[world.server].tools["get_time"].parameters
    assert parameters == {"a": ArgumentType(ArgumentKind.INTEGER)}
    await connection.close()


async def test_a_set_is_read_again_when_its_version_has_moved_and_not_before(database_url: str) -> None:
    connection, sets = await asyncpg.connect(database_url), PolicySets(Rules())

    async def evaluator(version: int) -> PolicyEvaluator:
        async with consistent(connection):
            return await sets.evaluator(await sets.read(connection, version))

    assert isinstance(await evaluator(1), GrantedIsAllowed)
    await publish(connection, "permit (principal, action, resource);")
    first = await evaluator(2)
    await publish(connection, "no policy that this engine reads")
    assert await evaluator(2) is first
    second = await evaluator(3)
    assert isinstance(first, Evaluator)
    assert isinstance(second, Evaluator)
    # Compiled policies are reused.
    assert second.policies[0] is first.policies[0]
    assert second.policies[1].fault is not None
    # If grants alone do not permit, an empty policy set denies everything.
    strict = PolicySets(Rules(permits_by_default=False))
    assert isinstance(await strict.evaluator(ReadSet(1, None)), Evaluator)
    await connection.close()


async def test_a_schema_is_kept_in_memory_only_where_it_mirrors_arguments_into_headers(
    database_url: str,
) -> None:
    connection = await asyncpg.connect(database_url)
    world = await make_world(connection)
    schema = '{"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}'
    await connection.execute("UPDATE tools SET input_schema = $1 WHERE name = 'get_time'", schema)
    async with consistent(connection):
        fleet = (await read_fleet(connection, None)).build()
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
    """A connection that records its queries."""

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


async def test_tokens_that_are_read_together_are_what_each_is_alone(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    worlds = [await make_world(connection) for _ in range(3)]
    child, group, shared, mine = (new_id() for _ in range(4))
    for statement, *values in (
        ("INSERT INTO groups (id, name) VALUES ($1, $2)", group, group.hex),
        (
            "INSERT INTO access_versions (id, version) SELECT unnest($1::uuid[]), 1",
            [child, group, mine, shared],
        ),
        (
            (
                "INSERT INTO tokens (id, identity_id, name, scope, expires_at, parent_id)"
                " SELECT $1, identity_id, 'part', scope, expires_at, id FROM tokens WHERE id = $2"
            ),
            child,
            worlds[0].token,
        ),
        (_GRANT.format("identity_id"), mine, worlds[1].person),
        (_GRANT.format("group_id"), shared, group),
    ):
        await connection.execute(statement, *values)
    for world in worlds[:2]:
        await connection.execute(
            "INSERT INTO group_members (id, group_id, identity_id) VALUES ($1, $2, $3)",
            new_id(), group, world.person,
        )  # fmt: skip
    ids = [child, *(world.token for world in worlds)]

    together = await read_tokens(connection, [*ids, new_id()])

    assert together == {id: await read_token(connection, id) for id in ids}
    grants = [[grant.id for grant in together[id].token.identity.grants] for id in ids]
    assert grants == [
        sorted(held)
        for held in (
            [worlds[0].grant, shared],
            [worlds[0].grant, shared],
            [worlds[1].grant, mine, shared],
            [worlds[2].grant],
        )
    ]
    assert [[link.id for link in together[id].token.chain()] for id in ids] == [
        [child, worlds[0].token],
        *([world.token] for world in worlds),
    ]
    assert [len(together[id].secrets) for id in ids] == [0, 1, 1, 1]
    await connection.close()
