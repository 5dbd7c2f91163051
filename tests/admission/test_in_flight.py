"""Calls in flight are cut when their dependencies are revoked, and when the worker cannot compare versions.

The delay before a cut depends on how busy the machine is; ``tests/faults`` measures it.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from math import inf

import asyncpg
import pytest

from app.admission import in_flight
from app.admission.in_flight import InFlightTable
from app.db.clock import DatabaseClock
from app.db.versions import CHANNEL
from app.domain.access import Decision
from app.lib.clock import boot_time
from app.lib.ids import new_id
from tests.admission.world import Connection, World, decision, make_world
from tests.faults.database_proxy import Fault, database_proxy

TIMEOUT_S = 50.0
# No comparison comes before the timeout.
NEVER_S = 600.0
_MOVE = "UPDATE access_versions SET version = version + 1 WHERE id = $1"


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
async def reader(database_url: str) -> AsyncIterator[Connection]:
    """The connection for reevaluations, while another one changes data."""
    reader = await asyncpg.connect(database_url)
    yield reader
    await reader.close()


@asynccontextmanager
async def running(
    connect: str | Callable[[], Awaitable[Connection]], listens: asyncio.Event | None = None
) -> AsyncIterator[InFlightTable]:
    """A running table. The event is set whenever a connection listens."""

    async def to_url() -> Connection:
        assert isinstance(connect, str)
        return await asyncpg.connect(connect)

    def heard(_payload: str | None) -> None:
        if listens is not None:
            listens.set()

    opens = to_url if isinstance(connect, str) else connect
    table = InFlightTable(opens, DatabaseClock(), new_id(), lambda ids: None, {"other": heard})
    task = asyncio.create_task(table.run())
    try:
        yield table
    finally:
        table.close()
        await task


async def revoke(connection: Connection, world: World) -> None:
    """Revoke the token without a notification."""
    async with connection.transaction():
        await connection.execute("UPDATE tokens SET revoked_at = now() WHERE id = $1", world.token)
        await connection.execute(_MOVE, world.token)


async def test_a_call_is_cut_when_its_token_is_revoked_with_a_notification(
    database_url: str, connection: Connection, reader: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_flight, "CHECK_EVERY_S", NEVER_S)
    world, cut, listens = await make_world(connection), asyncio.Event(), asyncio.Event()

    async def again() -> Decision:
        return await decision(reader, world, "get_time")

    async with asyncio.timeout(TIMEOUT_S), running(database_url, listens) as table:
        await listens.wait()
        table.enter(new_id(), await again(), again, cut.set)
        async with connection.transaction():
            await revoke(connection, world)
            await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, f'["{world.token.hex}"]')
        await cut.wait()
        assert len(table) == 0


async def test_a_call_is_cut_without_any_notification(
    database_url: str, connection: Connection, reader: Connection
) -> None:
    world, cut, asked = await make_world(connection), asyncio.Event(), asyncio.Event()

    async def again() -> Decision:
        asked.set()
        return await decision(reader, world, "get_time")

    async with asyncio.timeout(TIMEOUT_S), running(database_url) as table:
        table.enter(new_id(), await decision(connection, world, "get_time"), again, cut.set)
        # A call that is still allowed is not cut, and is watched with its new dependencies.
        await connection.execute(_MOVE, world.server)
        await asked.wait()
        await revoke(connection, world)
        await cut.wait()


async def test_a_call_that_is_still_allowed_runs_on_with_its_new_dependencies(
    database_url: str, connection: Connection, reader: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_flight, "CHECK_EVERY_S", 0.01)
    world, cut, asked, looks = await make_world(connection), [], [], asyncio.Queue[None]()

    async def again() -> Decision:
        asked.append(True)
        return await decision(reader, world, "get_time")

    async with asyncio.timeout(TIMEOUT_S), running(database_url) as table:
        table.enter(new_id(), await again(), again, lambda: cut.append(True))
        asked.clear()
        check = table._check

        async def checking() -> float:
            at = await check()
            looks.put_nowait(None)
            return at

        monkeypatch.setattr(table, "_check", checking)
        await connection.execute(_MOVE, world.server)
        while not asked:
            await looks.get()
        for _ in range(5):
            await looks.get()
        assert (cut, len(table)) == ([], 1)
        # Once, or twice if a comparison ran in between, but not at every comparison.
        assert len(asked) <= 2


async def test_a_call_is_confirmed_by_each_look_that_finds_nothing_moved_and_by_no_other(
    database_url: str, connection: Connection, reader: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_flight, "CHECK_EVERY_S", 0.01)
    world, call, looks = await make_world(connection), new_id(), asyncio.Queue[None]()
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def again() -> Decision:
        asked.set()
        await go_on.wait()
        return await decision(reader, world, "get_time")

    async with asyncio.timeout(TIMEOUT_S), running(database_url) as table:
        assert table.confirmed_at(call) == -inf
        table.enter(call, await decision(reader, world, "get_time"), again, lambda: None)
        came, check = boot_time(), table._check

        async def checking() -> float:
            at = await check()
            looks.put_nowait(None)
            return at

        monkeypatch.setattr(table, "_check", checking)
        assert table.confirmed_at(call) <= came
        for _ in range(3):
            await looks.get()
        assert came < table.confirmed_at(call) <= boot_time()
        await connection.execute(_MOVE, world.server)
        await asked.wait()
        moved = table.confirmed_at(call)
        for _ in range(3):
            await looks.get()
        assert table.confirmed_at(call) == moved
        go_on.set()
        while table.confirmed_at(call) == moved:
            await looks.get()


async def test_a_call_is_cut_at_the_very_end_of_its_span(
    database_url: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_flight, "CHECK_EVERY_S", NEVER_S)
    world, cut, pauses = await make_world(connection), asyncio.Event(), asyncio.Queue[float]()
    decided = await decision(connection, world, "get_time")
    pause = InFlightTable._pause

    def pausing(table: InFlightTable) -> float:
        pauses.put_nowait(pause(table))
        return pause(table)

    monkeypatch.setattr(InFlightTable, "_pause", pausing)

    async def again() -> Decision | None:
        return None

    async with asyncio.timeout(TIMEOUT_S), running(database_url) as table:
        # A second comparison, since a notification may have been lost before it listened.
        assert [await pauses.get() for _ in range(2)] == [NEVER_S, NEVER_S]
        table.enter(new_id(), decided, again, lambda: pytest.fail("its span is not over"))
        begun = time.monotonic()
        at = await connection.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8")
        later = asyncio.Event()
        for wait, ends in ((1.0, later), (0.3, cut)):
            # The second enters while the table waits for the end of the first.
            table.enter(new_id(), replace(decided, valid_until=at + wait), again, ends.set)
            assert await pauses.get() < NEVER_S
        await cut.wait()
        assert time.monotonic() - begun > 0.2
        await later.wait()
        assert time.monotonic() - begun > 0.9
        table.leave(next(iter(table._watched.values())).id)


async def test_a_changed_version_reaches_exactly_the_calls_that_depend_on_it(
    database_url: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_flight, "PAIRS_AT_ONCE", 2)
    decided = await decision(connection, await make_world(connection), "get_time")
    ids = [new_id() for _ in range(7)]
    made = "INSERT INTO access_versions (id, version) SELECT unnest($1::uuid[]), 1"
    await connection.execute(made, ids)
    calls = {"one": ids[:3], "both": ids[2:5], "other": ids[4:]}
    asked = asyncio.Queue[str]()

    def about(name: str, version: int) -> Decision:
        return replace(decided, depends_on=tuple((id, version if id == ids[2] else 1) for id in calls[name]))

    def again(name: str) -> Callable[[], Awaitable[Decision]]:
        async def asking() -> Decision:
            asked.put_nowait(name)
            return about(name, 2)

        return asking

    async with asyncio.timeout(TIMEOUT_S), running(database_url) as table:
        for name in calls:
            table.enter(new_id(), about(name, 1), again(name), lambda: pytest.fail("it is allowed still"))
        await connection.execute(_MOVE, ids[2])
        assert {await asked.get(), await asked.get()} == {"one", "both"}
        # The new dependencies of both are known, too.
        await connection.execute(_MOVE, ids[3])
        assert await asked.get() == "both"
        assert asked.empty()
        for watched in list(table._watched.values()):
            table.leave(watched.id)


@pytest.mark.parametrize("hangs", [True, False], ids=["hangs", "fails"])
async def test_a_call_that_cannot_be_reevaluated_is_cut_and_keeps_no_other_waiting(
    database_url: str,
    connection: Connection,
    reader: Connection,
    hangs: bool,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Long enough that the other one is cut before.
    monkeypatch.setattr(in_flight, "CUT_WITHIN_S", 3.0)
    world, cut, other_cut = await make_world(connection), asyncio.Event(), asyncio.Event()
    other, asked = await make_world(connection), asyncio.Event()

    async def never() -> Decision:
        asked.set()
        if hangs:
            await asyncio.Event().wait()
        raise RuntimeError

    async def again() -> Decision:
        return await decision(reader, other, "get_time")

    async with asyncio.timeout(TIMEOUT_S), running(database_url) as table:
        table.enter(new_id(), await decision(connection, world, "get_time"), never, cut.set)
        table.enter(new_id(), await again(), again, other_cut.set)
        await connection.execute(_MOVE, world.server)
        await asked.wait()
        await revoke(connection, other)
        await other_cut.wait()
        assert not cut.is_set()
        await cut.wait()
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


async def test_a_connection_that_ended_is_replaced_at_once(
    database_url: str, connection: Connection, reader: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_flight, "CHECK_EVERY_S", NEVER_S)
    world, cut, listens = await make_world(connection), asyncio.Event(), asyncio.Event()
    pids = []

    async def connect() -> Connection:
        opened = await asyncpg.connect(database_url)
        pids.append(opened.get_server_pid())
        return opened

    async def again() -> Decision:
        return await decision(reader, world, "get_time")

    async with asyncio.timeout(TIMEOUT_S), running(connect, listens) as table:
        await listens.wait()
        listens.clear()
        table.enter(new_id(), await again(), again, cut.set)
        # There is no notification of this one.
        await revoke(connection, world)
        await connection.execute("SELECT pg_terminate_backend($1)", pids[0])
        await listens.wait()
        await cut.wait()


async def test_a_connection_that_fell_silent_does_not_keep_a_call_alive(
    database_url: str, connection: Connection, reader: Connection
) -> None:
    world, cut, listens, opened = await make_world(connection), asyncio.Event(), asyncio.Event(), []

    async def again() -> Decision:
        return await decision(reader, world, "get_time")

    async with asyncio.timeout(TIMEOUT_S), database_proxy(database_url) as proxy:

        async def connect() -> Connection:
            opened.append(True)
            return await asyncpg.connect(database_url if len(opened) > 1 else proxy.url)

        async with running(connect, listens) as table:
            await listens.wait()
            table.enter(new_id(), await again(), again, cut.set)
            await proxy.begin(Fault.BLACKHOLE)
            await revoke(connection, world)
            await cut.wait()
            # From now on it listens on the second connection.
            assert len(opened) == 2


async def test_a_slow_answer_is_taken_and_its_connection_kept(
    database_url: str, connection: Connection, reader: Connection
) -> None:
    world, cut, listens, opened = await make_world(connection), asyncio.Event(), asyncio.Event(), []

    async def again() -> Decision:
        return await decision(reader, world, "get_time")

    async with asyncio.timeout(TIMEOUT_S), database_proxy(database_url) as proxy:
        third = asyncio.Event()

        async def connect() -> Connection:
            opened.append(True)
            if len(opened) == 1:
                return await asyncpg.connect(proxy.url)
            # No other server can be reached; the first connection continues.
            await proxy.end()
            await third.wait()
            raise ConnectionRefusedError

        async with running(connect, listens) as table:
            await listens.wait()
            table.enter(new_id(), await again(), again, cut.set)
            await proxy.begin(Fault.HOLD)
            await revoke(connection, world)
            await cut.wait()
            assert len(opened) == 2


async def test_a_worker_that_cannot_compare_for_too_long_cuts_all_its_calls(
    monkeypatch: pytest.MonkeyPatch, connection: Connection
) -> None:
    world = await make_world(connection)
    decided = await decision(connection, world, "get_time")

    async def hangs() -> Connection:
        await asyncio.Event().wait()
        raise AssertionError

    async def again() -> Decision:
        raise AssertionError("nothing can be read")

    monkeypatch.setattr(in_flight, "BLIND_AFTER_S", 0.3)
    async with asyncio.timeout(TIMEOUT_S), running(hangs) as table:
        for _ in range(2):
            # The second comes when it is blind already.
            cut = asyncio.Event()
            table.enter(new_id(), decided, again, cut.set)
            await cut.wait()


async def test_a_call_is_cut_when_its_session_was_ended(database_url: str, connection: Connection) -> None:
    world = await make_world(connection)
    cut, session_id = asyncio.Event(), new_id()
    decided = await decision(connection, world, "get_time")
    decided = replace(decided, depends_on=(*decided.depends_on, (session_id, 0)))

    async def again() -> Decision:
        return decided

    async with asyncio.timeout(TIMEOUT_S), running(database_url) as table:
        table.enter(new_id(), decided, again, cut.set)
        await connection.execute("INSERT INTO access_versions (id, version) VALUES ($1, 1)", session_id)
        await cut.wait()
        assert len(table) == 0
