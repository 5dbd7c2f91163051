"""Uses are recorded for every grant that gives the access, and none are lost."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy.exc import SQLAlchemyError

from app.access.reading import consistent, read_fleet, read_token
from app.access.unused import MAX_WINDOW
from app.admission import usage
from app.admission.postgres_store import CallRecords
from app.admission.rows import Clients, Refusals
from app.admission.store import Admitted, Client, DecidedCall, Stale, Withheld
from app.admission.usage import CallUses, forget_uses
from app.crypto.keys import Sealer
from app.db.clock import DatabaseClock
from app.db.engine import make_engine, make_sessions
from app.domain.access import Decision
from app.domain.objects import Grant, Part, Server, Token
from app.domain.policy import Effect
from app.domain.scopes import AllServers, AllTools, GrantsScope, ToolsByNames
from app.lib.ids import new_id
from tests.admission.consuming import ASK, running_consuming_writer
from tests.admission.world import Connection, World, decision, make_world, writer_on


@dataclass
class Desk:
    """Admits calls and records their uses."""

    port: CallRecords
    uses: CallUses
    world: World
    token: Token
    server: Server
    allowed: Decision

    async def admit(
        self, action: str, tool: str | None, decided: Decision, token: Token | None = None
    ) -> Any:
        call = DecidedCall(
            new_id(), action, action, token or self.token, self.server, tool, decided, Client()
        )
        return await self.port.admit(call)


@asynccontextmanager
async def opened(database_url: str, connection: Connection) -> AsyncIterator[Desk]:
    world = await make_world(connection)
    decided = await decision(connection, world, "get_time")
    async with consistent(connection):
        entry = await read_token(connection, world.token)
        fleet = (await read_fleet(connection, None)).build()
    assert entry is not None
    engine = make_engine(database_url, pool_size=2, name="test")
    uses = CallUses(make_sessions(engine), DatabaseClock())
    async with writer_on(database_url) as writer, running_consuming_writer(database_url) as consuming:
        clients, refusals = Clients(b"c" * 32), Refusals(lambda row: None)
        sealer = Sealer([b"a key of thirty-two bytes or more!"])
        port = CallRecords(writer, consuming, clients, refusals, uses, b"d" * 32, sealer)
        yield Desk(port, uses, world, entry.token, fleet.servers[world.server], decided)
    await engine.dispose()


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
async def desk(database_url: str, connection: Connection) -> AsyncIterator[Desk]:
    async with opened(database_url, connection) as desk:
        yield desk


async def used(connection: Connection) -> set[tuple[UUID, str, str]]:
    rows = await connection.fetch("SELECT grant_id, part, tool FROM grant_uses")
    return {(row["grant_id"], row["part"], row["tool"]) for row in rows}


async def users(connection: Connection) -> set[tuple[UUID, UUID]]:
    rows = await connection.fetch("SELECT grant_id, identity_id FROM grant_users")
    return {(row["grant_id"], row["identity_id"]) for row in rows}


async def test_calls_that_run_are_uses_and_those_that_do_not_are_not(
    desk: Desk, connection: Connection
) -> None:
    denied = replace(desk.allowed, effect=Effect.DENY, reason_code="policy_denied", for_any_call=False)
    asking = replace(desk.allowed, effect=Effect.REQUIRE_APPROVAL, asks=(ASK,), for_any_call=False)
    stale = replace(desk.allowed, depends_on=((desk.world.grant, 0),), for_any_call=False)
    assert isinstance(await desk.admit("tool.call", "get_time", denied), Admitted)
    assert isinstance(await desk.admit("tool.call", "get_time", asking), Withheld)
    assert isinstance(await desk.admit("tool.call", "get_time", stale), Stale)
    assert isinstance(await desk.admit("tools.list", None, desk.allowed), Admitted)
    await desk.uses.flush()
    assert await used(connection) == set()

    assert isinstance(await desk.admit("tool.call", "get_time", desk.allowed), Admitted)
    # Nothing is written while a call is admitted.
    assert await used(connection) == set()
    await desk.uses.flush()
    assert await used(connection) == {(desk.world.grant, "tools", "get_time")}
    assert await users(connection) == {(desk.world.grant, desk.world.person)}
    [first] = await connection.fetch("SELECT last_used_at FROM grant_uses")
    await desk.uses.flush()
    assert isinstance(await desk.admit("tool.call", "get_time", desk.allowed), Admitted)
    await desk.uses.flush()
    [again] = await connection.fetch("SELECT last_used_at FROM grant_uses")
    assert again["last_used_at"] > first["last_used_at"]


async def test_each_grant_that_gives_it_counts_those_of_the_one_who_attenuated_too(
    desk: Desk, connection: Connection
) -> None:
    wide, narrow, other, later = (
        Grant(new_id(), 1, AllServers(), AllTools(), True, False),
        Grant(new_id(), 1, AllServers(), ToolsByNames(frozenset({"get_time"})), False, False),
        Grant(new_id(), 1, AllServers(), ToolsByNames(frozenset({"set_time"})), False, True),
        Grant(new_id(), 1, AllServers(), AllTools(), True, True, not_before=4_000_000_000.0),
    )
    person = replace(desk.token.identity, grants=(wide, narrow, other, later))
    above, grant = replace(person, id=new_id(), grants=(replace(wide, id=new_id()),)), wide
    parent = replace(desk.token, identity=above)
    child = Token(new_id(), 1, person, GrantsScope(), parent.expires_at, parent=parent)
    for action, tool in (("tool.call", "get_time"), ("resource.read", None), ("prompt.get", None)):
        assert isinstance(await desk.admit(action, tool, desk.allowed, child), Admitted)
    await desk.uses.flush()
    mine, theirs = grant.id, above.grants[0].id
    assert await used(connection) == {
        (mine, "tools", "get_time"),
        (narrow.id, "tools", "get_time"),
        (theirs, "tools", "get_time"),
        (mine, Part.RESOURCES, ""),
        (theirs, Part.RESOURCES, ""),
        (other.id, Part.PROMPTS, ""),
    }
    assert await users(connection) == {
        *((id, person.id) for id in (mine, narrow.id, other.id)),
        (theirs, above.id),
    }


async def test_what_cannot_be_written_is_kept_within_bounds_and_written_later(
    desk: Desk, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "MAX_NOTED", 2)
    assert isinstance(await desk.admit("tool.call", "get_time", desk.allowed), Admitted)
    await connection.execute("ALTER TABLE grant_uses RENAME TO away")
    await connection.execute("ALTER TABLE token_uses RENAME TO tokens_away")
    with pytest.raises(SQLAlchemyError):
        await desk.uses.flush()
    for tool in ("a", "b", "c", "d"):
        call = DecidedCall(new_id(), "tool.call", "", desk.token, desk.server, tool, desk.allowed, Client())
        desk.uses.note(call, runs=True)
    assert len(desk.uses._noted) == 4
    # The loop that writes is woken.
    assert desk.uses._many.is_set()
    await connection.execute("ALTER TABLE away RENAME TO grant_uses")
    await connection.execute("ALTER TABLE tokens_away RENAME TO token_uses")
    await desk.uses.flush()
    assert await used(connection) == {(desk.world.grant, "tools", "get_time")}
    assert await connection.fetchval("SELECT count(*) FROM token_uses") == 1
    assert not desk.uses._many.is_set()
    # Without uses, there is no query.
    await CallUses(cast("Any", None), DatabaseClock()).flush()


async def test_uses_are_forgotten_that_no_report_asks_for(
    desk: Desk, connection: Connection, database_url: str
) -> None:
    ended, now = await make_world(connection), datetime.now(UTC)
    await connection.execute(
        "UPDATE grants SET ended_at = now() - interval '40 days' WHERE id = $1", ended.grant
    )
    days = {
        "old": (desk.world, MAX_WINDOW + timedelta(days=1)),
        "kept": (desk.world, MAX_WINDOW - timedelta(days=1)),
        "ended": (ended, timedelta()),
    }
    for tool, (world, age) in days.items():
        await connection.execute(
            "INSERT INTO grant_uses VALUES ($1, $2, 'tools', $3, $4)",
            world.grant, world.server, tool, now - age,
        )  # fmt: skip
        await connection.execute(
            "INSERT INTO grant_users VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
            world.grant, world.person, now,
        )  # fmt: skip
    assert await forget_uses(database_url, now=now) == 3
    assert await used(connection) == {(desk.world.grant, "tools", "kept")}
    assert await users(connection) == {(desk.world.grant, desk.world.person)}
