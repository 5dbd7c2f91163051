"""The admission writer on a real PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from time import monotonic
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from app.admission.rows import Row, Values, cells_of, clients_of
from app.admission.writer import DEADLINE_S, AdmissionWriter, make_outcome
from app.db.clock import DatabaseClock
from app.db.connection import GuardedConnection
from app.db.rewinds import RewindGuard
from app.domain.errors import StoreUnavailable
from app.lib.ids import new_id
from tests.admission.world import Connection, call_row, decision, make_world, writer_on

MOVE = "UPDATE access_versions SET version = version + 1 WHERE id = $1"


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def rows_of(connection: Connection, id: UUID) -> list[asyncpg.Record]:
    return await connection.fetch("SELECT * FROM audit_events WHERE id = $1", id)


async def test_a_call_whose_grounds_hold_is_written_and_durable(
    database_url: str, connection: Connection
) -> None:
    world = await make_world(connection)
    decided = await decision(connection, world, "get_time")
    assert decided.allowed
    row = call_row(world, decided)
    async with writer_on(database_url) as writer:
        assert await writer.write(row)
    [written] = await rows_of(connection, row.id)
    assert written["epoch"] == 1
    assert written["token_id"] == world.token


@pytest.mark.parametrize("moved", ["token", "person", "grant", "server"])
async def test_nothing_is_written_once_what_it_rests_on_has_moved(
    database_url: str, connection: Connection, moved: str
) -> None:
    world = await make_world(connection)
    row = call_row(world, await decision(connection, world, "get_time"))
    await connection.execute(MOVE, getattr(world, moved))
    async with writer_on(database_url) as writer:
        assert not await writer.write(row)
    assert await rows_of(connection, row.id) == []


async def test_a_version_that_fell_lets_nothing_run(database_url: str, connection: Connection) -> None:
    """The database is older than the data of the call's decision."""
    world, rewinds = await make_world(connection), RewindGuard()
    await connection.execute(MOVE, world.token)
    rests_on_newer = call_row(world, await decision(connection, world, "get_time"))
    async with writer_on(database_url, rewinds) as writer:
        assert await writer.write(call_row(world, await decision(connection, world, "get_time")))
        assert rewinds.known.xact > 0
        await connection.execute(
            "UPDATE access_versions SET version = version - 1 WHERE id = $1", world.token
        )
        with pytest.raises(StoreUnavailable):
            await writer.write(rests_on_newer)
    assert "older version" in (rewinds.reason or "")
    assert await rows_of(connection, rests_on_newer.id) == []


async def test_a_deny_that_became_stale_is_not_written_either(
    database_url: str, connection: Connection
) -> None:
    world = await make_world(connection)
    denied = await decision(connection, world, "set_time")
    assert not denied.allowed
    await connection.execute(MOVE, world.grant)
    async with writer_on(database_url) as writer:
        assert not await writer.write(call_row(world, denied))


async def test_an_allow_is_not_written_past_its_span_by_the_database_clock(
    database_url: str, connection: Connection
) -> None:
    world = await make_world(connection)
    decided = await decision(connection, world, "get_time")
    now = await connection.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8")
    async with writer_on(database_url) as writer:
        assert not await writer.write(call_row(world, replace(decided, valid_until=now)))
        assert not await writer.write(call_row(world, replace(decided, valid_from=now + 60)))
        assert await writer.write(call_row(world, decided))


async def test_one_callers_bad_value_harms_nobody_else(database_url: str, connection: Connection) -> None:
    world = await make_world(connection)
    decided = await decision(connection, world, "get_time")
    rows = [call_row(world, decided) for _ in range(20)]
    bad = call_row(world, decided, tool="NUL \x00 is no text in PostgreSQL")
    async with writer_on(database_url) as writer:
        answers = await asyncio.gather(
            *(writer.write(row) for row in [*rows[:10], bad, *rows[10:]]), return_exceptions=True
        )
    assert isinstance(answers.pop(10), StoreUnavailable)
    assert len(answers) == 20
    assert all(isinstance(sent, float) for sent in answers)


@pytest.mark.parametrize(
    "name",
    ["NULL", "", '"', "\\", '\\"', "{a,b}", "a, b", " a ", "'); --", "line\nend\r\t", "\u00e9 \U0001f98a"],
)
async def test_a_name_comes_into_the_log_as_it_is(
    database_url: str, connection: Connection, name: str
) -> None:
    world = await make_world(connection)
    row = call_row(world, await decision(connection, world, "get_time"), tool=name, request_id=name)
    async with writer_on(database_url) as writer:
        assert await writer.write(row)
    [written] = await rows_of(connection, row.id)
    assert (written["tool"], written["request_id"], written["trace_id"]) == (name, name, None)


async def test_concurrent_calls_share_a_commit(database_url: str, connection: Connection) -> None:
    world = await make_world(connection)
    decided = await decision(connection, world, "get_time")
    async with writer_on(database_url) as writer:
        assert all(await asyncio.gather(*(writer.write(call_row(world, decided)) for _ in range(200))))
    transactions = await connection.fetchval("SELECT count(DISTINCT xact) FROM audit_events")
    assert transactions < 20


async def test_a_stale_row_does_not_take_its_batch_along(database_url: str, connection: Connection) -> None:
    world, other = await make_world(connection), await make_world(connection)
    stale = call_row(world, await decision(connection, world, "get_time"))
    good = call_row(other, await decision(connection, other, "get_time"))
    await connection.execute(MOVE, world.token)
    async with writer_on(database_url) as writer:
        written = await asyncio.gather(writer.write(stale), writer.write(good))
        assert [sent is not None for sent in written] == [False, True]


async def test_a_log_without_an_open_epoch_opens_the_next_and_goes_on(
    database_url: str, connection: Connection
) -> None:
    world = await make_world(connection)
    decided = await decision(connection, world, "get_time")
    # As after a restore: another system wrote epoch 1.
    await connection.execute("UPDATE log_epochs SET system_identifier = 1")
    row = call_row(world, decided)
    async with writer_on(database_url) as writer:
        assert await writer.write(row)
    [written] = await rows_of(connection, row.id)
    assert written["epoch"] == 2


async def test_a_lost_connection_denies_and_the_call_is_told_as_not_forwarded(
    database_url: str, connection: Connection
) -> None:
    world = await make_world(connection)
    decided = await decision(connection, world, "get_time")
    async with writer_on(database_url) as writer:
        assert await writer.write(call_row(world, decided))
        # The next statement waits behind this lock until its deadline.
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("LOCK TABLE audit_events IN ACCESS EXCLUSIVE MODE")
        row = call_row(world, decided)
        with pytest.raises(StoreUnavailable):
            await writer.write(row)
        await transaction.rollback()
        assert await writer.write(call_row(world, decided))
    told = await connection.fetch("SELECT outcome FROM audit_events WHERE call_id = $1", row.id)
    assert [record["outcome"] for record in told] == ["not_forwarded"]


# Only in this database, because tables in copies of the same template have the same ids.
BLOCKED = """
SELECT pid FROM pg_locks WHERE NOT granted AND relation = 'audit_events'::regclass
AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


async def test_an_outcome_survives_the_loss_of_its_connection(
    database_url: str, connection: Connection
) -> None:
    world = await make_world(connection)
    decided = await decision(connection, world, "get_time")
    async with writer_on(database_url) as writer:
        first = call_row(world, decided)
        assert await writer.write(first)
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("LOCK TABLE audit_events IN ACCESS EXCLUSIVE MODE")
        writer.write_later(make_outcome(first.id, "success", 12))
        waiting = writer.write(call_row(world, decided))
        async with asyncio.timeout(50):
            pid = None
            while pid is None:
                pid = await connection.fetchval(BLOCKED)
        await connection.execute("SELECT pg_terminate_backend($1)", pid)
        with pytest.raises(StoreUnavailable):
            await waiting
        await transaction.rollback()
        assert await writer.write(call_row(world, decided))
    told = await connection.fetch("SELECT outcome FROM audit_events WHERE call_id = $1", first.id)
    assert [record["outcome"] for record in told] == ["success"]


async def test_an_outcome_survives_a_bad_value_and_the_loss_of_its_connection_together(
    database_url: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = await make_world(connection)
    decided = await decision(connection, world, "get_time")
    async with writer_on(database_url) as writer:
        first = call_row(world, decided)
        assert await writer.write(first)
        faults, execute = [OSError(), asyncpg.CharacterNotInRepertoireError("a bad value")], writer._execute

        async def faulty(batch: Any) -> asyncpg.Record:
            if faults:
                raise faults.pop()
            return await execute(batch)

        monkeypatch.setattr(writer, "_execute", faulty)
        writer.write_later(make_outcome(first.id, "success", 12))
        with pytest.raises(StoreUnavailable):
            await writer.write(call_row(world, decided))
        assert not faults
    told = await connection.fetch("SELECT outcome FROM audit_events WHERE call_id = $1", first.id)
    assert [record["outcome"] for record in told] == ["success"]


async def test_an_outcome_waits_for_its_partition(
    database_url: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = await make_world(connection)
    decided = await decision(connection, world, "get_time")
    async with writer_on(database_url) as writer:
        first = call_row(world, decided)
        assert await writer.write(first)
        faults, execute = (
            [asyncpg.CheckViolationError("no partition of relation found for row")],
            writer._execute,
        )

        async def faulty(batch: Any) -> asyncpg.Record:
            if faults:
                raise faults.pop()
            return await execute(batch)

        monkeypatch.setattr(writer, "_execute", faulty)
        writer.write_later(make_outcome(first.id, "success", 12))
        with pytest.raises(StoreUnavailable):
            await writer.write(call_row(world, decided))
        assert await writer.write(call_row(world, decided))
    told = await connection.fetch("SELECT outcome FROM audit_events WHERE call_id = $1", first.id)
    assert [record["outcome"] for record in told] == ["success"]


def test_workers_name_the_same_clients_in_the_same_order() -> None:
    rows = [Row(new_id(), (), client=(uuid4(), None, None, None, None, b"")) for _ in range(20)]
    assert clients_of(rows) == clients_of(rows[::-1])


async def test_an_outcome_is_a_row_of_its_own(database_url: str, connection: Connection) -> None:
    world = await make_world(connection)
    row = call_row(world, await decision(connection, world, "get_time"))
    async with writer_on(database_url) as writer:
        assert await writer.write(row)
        writer.write_later(make_outcome(row.id, "success", 12))
    [told] = await connection.fetch("SELECT * FROM audit_events WHERE call_id = $1", row.id)
    assert (told["action"], told["outcome"], told["duration_ms"]) == ("tool.result", "success", 12)


async def test_an_outcome_that_took_longer_than_can_be_told_is_told(
    database_url: str, connection: Connection
) -> None:
    id = new_id()
    async with writer_on(database_url) as writer:
        writer.write_later(make_outcome(id, "success", 2**31))
    assert (
        await connection.fetchval("SELECT duration_ms FROM audit_events WHERE call_id = $1", id) == 2**31 - 1
    )


async def test_the_log_cannot_be_changed_by_anybody(database_url: str, connection: Connection) -> None:
    world = await make_world(connection)
    row = call_row(world, await decision(connection, world, "get_time"))
    async with writer_on(database_url) as writer:
        assert await writer.write(row)
    for statement in (
        "UPDATE audit_events SET tool = 'x'",
        "DELETE FROM audit_events",
        "TRUNCATE audit_events",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)


async def test_whoever_comes_while_a_connection_hangs_is_refused_within_the_deadline() -> None:
    async def connect() -> GuardedConnection:
        await asyncio.Event().wait()
        raise AssertionError

    writer = AdmissionWriter(connect, DatabaseClock(), new_id(), "key")
    serving = asyncio.create_task(writer.run())

    async def come(after: float) -> float:
        await asyncio.sleep(after)
        came = monotonic()
        with pytest.raises(StoreUnavailable):
            await writer.write(Row(new_id(), cells_of(Values(new_id(), "tool.call", "identity"))))
        return monotonic() - came

    waits = await asyncio.gather(*(come(number / 5) for number in range(8)))
    writer.close()
    serving.cancel()
    await asyncio.wait([serving])
    assert max(waits) < DEADLINE_S


async def test_whoever_waits_when_a_worker_ends_without_its_database_is_refused() -> None:
    async def away() -> GuardedConnection:
        raise ConnectionRefusedError

    writer = AdmissionWriter(away, DatabaseClock(), new_id(), "key")
    row = Row(new_id(), cells_of(Values(new_id(), "tool.call", "identity")))
    waiting = writer.write(row)
    await asyncio.sleep(0)
    writer.close()
    async with asyncio.timeout(50):
        await writer.run()
        with pytest.raises(StoreUnavailable):
            await waiting
