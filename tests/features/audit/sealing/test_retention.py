"""A month of the log is dropped only after all of it is sealed and the drop is recorded."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import asyncpg
import pytest

from app.db.partitions import maintain_partitions
from app.features.audit.sealing.drops import record_drop
from app.features.audit.sealing.sealer import SealedLog
from tests.features.audit.sealing.sealed import SIGNER, insert, seal, size, write

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
KEEP = timedelta(days=400)
MONTH = "audit_events_y2001m01"
OLD = datetime(2001, 1, 31, 23, 59, 59, tzinfo=UTC)
NEXT_DAY = datetime(2001, 2, 1, tzinfo=UTC)


async def old_months(connection: "Connection", url: str, events: int) -> None:
    """Two old months. Events of the first are ordered within the second by commit."""
    await maintain_partitions(url, keep=timedelta(days=40_000), now=OLD)
    await connection.execute("UPDATE log_epochs SET opened_at = $1", OLD)
    await write(connection, 3)
    for _ in range(events - 1):
        await insert(connection, time=OLD)
    await insert(connection, time=NEXT_DAY)
    await insert(connection, time=OLD)


async def maintained(url: str) -> tuple[tuple[str, ...], dict[str, str]]:
    """The dropped and kept rows at the end of January 2001 with ``KEEP``."""
    done = await maintain_partitions(url, keep=KEEP, now=NEXT_DAY + KEEP, record_drop=record_drop)
    return tuple(name for name in done.dropped if "events" in name), dict(done.kept)


async def drops(connection: "Connection") -> list[Any]:
    return await connection.fetch("SELECT * FROM audit_events WHERE action = 'audit.drop'")


async def test_a_month_is_dropped_when_all_of_it_is_sealed_and_that_is_on_record(
    connection: "Connection", database_url: str
) -> None:
    await old_months(connection, database_url, 255)
    dropped, kept = await maintained(database_url)
    assert dropped == ()
    assert "sealed" in kept[MONTH]
    assert await drops(connection) == []
    await seal(connection, 259)
    dropped, kept = await maintained(database_url)
    assert dropped == ()
    assert "full tile" in kept[MONTH]
    await write(connection, 253)
    await seal(connection, 512)
    dropped, kept = await maintained(database_url)
    assert (dropped, kept) == ((MONTH,), {})
    (event,) = await drops(connection)
    assert (event["actor_type"], event["actor_id"], event["outcome"]) == ("system", UUID(int=0), "success")
    assert json.loads(event["changes"]) == {
        "partition": MONTH,
        "rows": 255,
        "lowest_position": 3,
        "highest_position": 258,
    }
    # Sealing can continue from what is left.
    await write(connection, 200)
    await seal(connection, 713)
    await write(connection, 100)
    await seal(connection, 813)


async def test_a_month_without_events_goes_too_and_is_on_record_once(
    connection: "Connection", database_url: str
) -> None:
    await maintain_partitions(database_url, keep=timedelta(days=40_000), now=OLD)
    assert await record_drop(connection, MONTH) is None
    # As after an interrupted run.
    dropped, kept = await maintained(database_url)
    assert (dropped, kept) == ((MONTH,), {})
    (event,) = await drops(connection)
    assert json.loads(event["changes"])["rows"] == 0


async def test_a_drop_that_was_interrupted_once_it_was_detached_is_finished_and_not_recorded_twice(
    connection: "Connection", database_url: str
) -> None:
    await old_months(connection, database_url, 255)
    await write(connection, 253)
    await seal(connection, 512)
    await connection.execute(f"CREATE VIEW hanging AS SELECT FROM {MONTH}")
    with pytest.raises(asyncpg.DependentObjectsStillExistError):
        await maintained(database_url)
    await connection.execute("DROP VIEW hanging")
    dropped, kept = await maintained(database_url)
    assert (dropped, kept) == ((MONTH,), {})
    assert len(await drops(connection)) == 1


async def test_a_month_that_is_not_as_it_was_sealed_stays(
    connection: "Connection", database_url: str
) -> None:
    await old_months(connection, database_url, 255)
    await write(connection, 253)
    await seal(connection, 512)
    await connection.execute(
        "SET session_replication_role = replica;"
        "UPDATE audit_events SET action = 'y' WHERE seq = (SELECT max(seq) FROM audit_events_y2001m01);"
        "SET session_replication_role = origin"
    )
    dropped, kept = await maintained(database_url)
    assert dropped == ()
    assert "not as it was sealed" in kept[MONTH]
    assert await drops(connection) == []


async def test_a_drop_waits_for_no_admission_and_holds_none_up(
    connection: "Connection", database_url: str
) -> None:
    """While one recording transaction is open, a month is created and another dropped, and others keep recording."""
    await maintain_partitions(database_url, keep=timedelta(days=40_000), now=OLD)
    writing = await asyncpg.connect(database_url)
    other = await asyncpg.connect(database_url)
    admission = writing.transaction()
    await admission.start()
    await write(writing)
    maintaining = asyncio.create_task(maintained(database_url))
    months = (
        "SELECT count(*) FROM pg_inherits WHERE inhparent = 'audit_events'::regclass AND inhdetachpending"
    )
    async with asyncio.timeout(50):
        while not maintaining.done() and not await other.fetchval(months):
            pass
        # Detaching waits for transactions that may see the month; no one waits for it.
        await write(other)
        await write(writing)
        await admission.commit()
        dropped, _ = await maintaining
    assert dropped == (MONTH,)
    await writing.close()
    await other.close()
    assert await size(connection) == 0
    await seal(connection, 4)
    await SealedLog.open(connection, SIGNER)
