"""A full or closed writer refuses at once, and writes nothing for a caller that has left."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from types import ModuleType
from typing import Any

import asyncpg
import pytest

from app.admission import consuming_writer, writer
from app.admission.rows import Row, Values, cells_of
from app.admission.store import Admitted, StoreUnavailable
from app.admission.writer import AdmissionWriter
from app.db.clock import DatabaseClock
from app.db.connection import GuardedConnection, Primary
from app.db.rewinds import DatabaseRewound
from app.features.audit.epochs import ensure_epoch
from app.lib.ids import new_id
from tests.admission.consuming import demand, quota, running_consuming_writer, used
from tests.admission.test_kept_arguments import Desk, opened
from tests.admission.world import Connection, call_row, decision, make_world


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
async def desk(database_url: str, connection: Connection) -> AsyncIterator[Desk]:
    async with opened(database_url, connection) as desk:
        yield desk


async def away() -> GuardedConnection:
    raise ConnectionRefusedError


def row() -> Row:
    return Row(new_id(), cells_of(Values(new_id(), "tool.call", "identity")))


def room_for_two(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITING", 2)


async def come(calls: Sequence[asyncio.Future[Any]]) -> None:
    """Let calls enter the queue, which each does in its first step."""
    await asyncio.sleep(0)
    assert not any(call.done() for call in calls)


async def leave(calls: Sequence[asyncio.Future[Any]]) -> None:
    for call in calls:
        call.cancel()
    await asyncio.wait(calls)


async def test_a_full_queue_refuses_the_next_call_and_keeps_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    room_for_two(writer, monkeypatch)
    full = AdmissionWriter(away, DatabaseClock(), new_id(), "key")
    calls = [full.write(row()) for _ in range(2)]
    await come(calls)
    with pytest.raises(StoreUnavailable):
        await full.write(row())
    assert not any(call.done() for call in calls)
    await leave(calls)


async def test_a_closed_writer_refuses_a_call_that_nothing_would_answer() -> None:
    closed = AdmissionWriter(away, DatabaseClock(), new_id(), "key")
    closed.close()
    with pytest.raises(StoreUnavailable):
        async with asyncio.timeout(5):
            await closed.write(row())


@pytest.mark.parametrize("waits", [False, True], ids=["before it connects", "while it connects"])
async def test_a_call_whose_caller_left_before_it_was_sent_gets_no_row(
    database_url: str, connection: Connection, monkeypatch: pytest.MonkeyPatch, *, waits: bool
) -> None:
    monkeypatch.setattr(writer, "DEADLINE_S", 30.0)  # However busy the machine is.
    world = await make_world(connection)
    decided = await decision(connection, world, "get_time")
    gone, stays = call_row(world, decided), call_row(world, decided)

    opened = await Primary(database_url).connect(10, {})
    await ensure_epoch(opened)

    async def connect() -> GuardedConnection:
        while waits and admitting._queue:  # noqa: ASYNC110  nothing tells of it
            await asyncio.sleep(0.01)
        return opened

    admitting = AdmissionWriter(connect, DatabaseClock(), new_id(), "key")
    left = admitting.write(gone)
    await come([left])
    await leave([left])
    serving = asyncio.create_task(admitting.run())
    async with asyncio.timeout(30):
        # It leaves the queue in one of the next steps after the connection is there.
        while admitting._connection is None or admitting._queue:  # noqa: ASYNC110  nothing tells of it
            await asyncio.sleep(0.01)
        assert await admitting.write(stays)
        admitting.close()
        await serving
    written = await connection.fetch("SELECT id FROM audit_events WHERE id = ANY($1)", [gone.id, stays.id])
    assert [event["id"] for event in written] == [stays.id]


async def test_nothing_is_admitted_once_the_database_went_back_in_time(desk: Desk) -> None:
    assert isinstance((await desk.admit("off", desk.allowed))[1], Admitted)
    with pytest.raises(DatabaseRewound):
        desk.port._rewinds.report_older_version()
    before = await desk.connection.fetchval("SELECT count(*) FROM audit_events")
    with pytest.raises(StoreUnavailable, match="version"):
        await desk.admit("off", desk.allowed)
    assert await desk.connection.fetchval("SELECT count(*) FROM audit_events") == before


async def test_a_full_consuming_queue_refuses_the_next_call_and_takes_nothing_for_it(
    database_url: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    room_for_two(consuming_writer, monkeypatch)
    monkeypatch.setattr(consuming_writer, "DEADLINE_S", 30.0)  # However busy the machine is.
    world = await make_world(connection)
    decided = await decision(connection, world, "get_time")
    async with running_consuming_writer(database_url) as consuming:
        # All three are queued before the writer's task runs.
        settled = await asyncio.gather(
            *(consuming.settle(demand(world, decided, quotas=(quota(10),))) for _ in range(3)),
            return_exceptions=True,
        )
        assert [isinstance(each, StoreUnavailable) for each in settled] == [False, False, True]
        consuming.close()
        with pytest.raises(StoreUnavailable):
            await consuming.settle(demand(world, decided, quotas=(quota(10),)))
    assert await used(connection) == 2
