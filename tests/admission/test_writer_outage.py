"""Admission with a database that accepts connections but no rows, or whose commits are not replicated."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from time import monotonic

import asyncpg
import pytest

from app.admission.consuming_writer import ConsumingWriter
from app.admission.writer import AdmissionWriter
from app.db.clock import DatabaseClock
from app.db.connection import GuardedConnection, Primary
from app.db.recorder_health import RecorderHealth
from app.domain.errors import StoreUnavailable
from app.features.audit.epochs import ensure_epoch
from app.lib.ids import new_id
from tests.admission.consuming import demand, quota, used
from tests.admission.world import Connection, call_row, decision, make_world

PAUSE_S = 0.1
FUNCTION = "CREATE FUNCTION faulty() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {fault}; RETURN new; END $$"
AT_ONCE = "CREATE TRIGGER faulty BEFORE INSERT ON audit_events FOR EACH ROW EXECUTE FUNCTION faulty()"
AT_COMMIT = (
    "CREATE CONSTRAINT TRIGGER faulty AFTER INSERT ON audit_events DEFERRABLE INITIALLY DEFERRED "
    "FOR EACH ROW EXECUTE FUNCTION faulty()"
)
WELL_AGAIN = "DROP TRIGGER faulty ON audit_events"


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


def opening(url: str, opened: list[float]) -> Callable[[], Awaitable[GuardedConnection]]:
    """Open connections, and record when."""

    async def connect() -> GuardedConnection:
        opened.append(monotonic())
        connection = await Primary(url).connect(10, {})
        await ensure_epoch(connection)
        return connection

    return connect


def assert_paused(opened: list[float]) -> None:
    """The first connection is replaced at once, since only it may be faulty. Each later attempt waits."""
    pauses = [later - earlier for earlier, later in pairwise(opened[1:])]
    assert len(pauses) > 2
    assert min(pauses) >= PAUSE_S


@asynccontextmanager
async def writer_on(url: str, health: RecorderHealth, opened: list[float]) -> AsyncIterator[AdmissionWriter]:
    """A writer that serves its queue, with its health and the times of its connections."""
    writer = AdmissionWriter(opening(url, opened), DatabaseClock(), new_id(), "key", health)
    serving = asyncio.create_task(writer.run())
    yield writer
    writer.close()
    await asyncio.wait([serving], timeout=60)
    assert serving.done()
    serving.result()


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("disk_full", "the disk of the database is full"),
        ("read_only_sql_transaction", "the database is read-only"),
    ],
)
async def test_a_database_that_takes_no_rows_is_not_connected_to_without_a_pause(
    database_url: str, connection: Connection, fault: str, words: str
) -> None:
    world = await make_world(connection)
    decided = await decision(connection, world, "get_time")
    health, opened = RecorderHealth(), list[float]()
    async with writer_on(database_url, health, opened) as writer:
        assert await writer.write(call_row(world, decided))
        await connection.execute(FUNCTION.format(fault=f"RAISE {fault}"))
        await connection.execute(AT_ONCE)
        for _ in range(5):
            with pytest.raises(StoreUnavailable):
                await writer.write(call_row(world, decided))
        assert health.reason() == words
        await connection.execute(WELL_AGAIN)
        async with asyncio.timeout(50):
            while health.reason() is not None:
                await connection.fetchval("SELECT 1")
        assert await writer.write(call_row(world, decided))
    assert_paused(opened)


async def test_a_call_whose_commit_warns_does_not_run_and_is_recorded_as_not_forwarded(
    database_url: str, connection: Connection
) -> None:
    """PostgreSQL's answer to a cancelled wait for a standby."""
    world = await make_world(connection)
    decided = await decision(connection, world, "get_time")
    health = RecorderHealth()
    async with writer_on(database_url, health, []) as writer:
        assert await writer.write(call_row(world, decided))
        await connection.execute(FUNCTION.format(fault="RAISE WARNING 'not replicated'"))
        await connection.execute(AT_COMMIT)
        row = call_row(world, decided)
        with pytest.raises(StoreUnavailable):
            await writer.write(row)
        assert health.reason() == "the wait for the synchronous standby was cancelled"
        await connection.execute(WELL_AGAIN)
        assert await writer.write(call_row(world, decided))
        assert health.reason() is None
    assert await connection.fetchval("SELECT count(*) FROM audit_events WHERE id = $1", row.id) == 1
    told = await connection.fetch("SELECT outcome FROM audit_events WHERE call_id = $1", row.id)
    assert {record["outcome"] for record in told} == {"not_forwarded"}


async def test_nor_is_it_for_calls_that_are_counted(database_url: str, connection: Connection) -> None:
    world = await make_world(connection)
    decided = await decision(connection, world, "get_time")
    health, opened = RecorderHealth(), list[float]()
    consuming = ConsumingWriter(
        opening(database_url, opened), DatabaseClock(), new_id(), "key", 3600.0, health
    )
    serving = asyncio.create_task(consuming.run())

    async def settled() -> bool:
        settlement = await consuming.settle(demand(world, decided, quotas=(quota(7),)))
        return settlement is not None and settlement.admitted

    assert await settled()
    await connection.execute(FUNCTION.format(fault="RAISE disk_full"))
    await connection.execute(AT_ONCE)
    for _ in range(5):
        with pytest.raises(StoreUnavailable):
            await settled()
    assert health.reason() == "the disk of the database is full"
    await connection.execute(WELL_AGAIN)
    assert await settled()
    assert health.reason() is None
    consuming.close()
    async with asyncio.timeout(50):
        await serving
    assert_paused(opened)
    assert await used(connection) == 2
