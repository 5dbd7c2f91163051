"""The owner creates future partitions of the audit log, and drops those past the retention."""

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from app.db.partitions import MONTHS_AHEAD, PARENTS, maintain_partitions

KEEP = timedelta(days=400)


async def partitions(url: str) -> set[str]:
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(
            "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = ANY($1::regclass[])",
            list(PARENTS),
        )
        return {row["name"] for row in rows}
    finally:
        await connection.close()


async def test_a_fresh_database_needs_nothing(database_url: str) -> None:
    # The template can be from last month; its oldest partition is added by the tests.
    _, made_after = await first_month(database_url)
    done = await maintain_partitions(database_url, keep=KEEP, now=made_after)
    assert done.made == done.dropped == ()


async def test_months_are_made_ahead_and_a_second_run_finds_nothing_to_do(database_url: str) -> None:
    later = datetime.now(UTC) + timedelta(days=200)
    done = await maintain_partitions(database_url, keep=KEEP, now=later)
    assert len(done.made) == len(PARENTS) * (MONTHS_AHEAD + 1)
    assert set(done.made) <= await partitions(database_url)
    assert f"audit_events_y{later:%Y}m{later:%m}" in done.made
    again = await maintain_partitions(database_url, keep=KEEP, now=later)
    assert again.made == again.dropped == ()


async def test_a_month_made_ahead_takes_events_and_refuses_their_change(database_url: str) -> None:
    later = datetime.now(UTC) + timedelta(days=200)
    await maintain_partitions(database_url, keep=KEEP, now=later)
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(
            "INSERT INTO audit_events (id, time, action, actor_type) VALUES (gen_random_uuid(), $1, 'x', 'system')",
            later,
        )
        for change in ("DELETE FROM audit_events", "UPDATE audit_events SET action = 'y'"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(change)
    finally:
        await connection.close()


async def test_only_months_that_ended_before_the_retention_are_dropped(database_url: str) -> None:
    asked: list[str] = []

    async def record(_connection: object, partition: str) -> None:
        asked.append(partition)

    first, end = await first_month(database_url)
    kept = await maintain_partitions(
        database_url, keep=KEEP, now=end + KEEP - timedelta(seconds=1), record_drop=record
    )
    assert kept.dropped == ()
    assert asked == []
    done = await maintain_partitions(database_url, keep=KEEP, now=end + KEEP, record_drop=record)
    assert set(done.dropped) == {first.replace("audit_events", parent) for parent in PARENTS}
    assert not set(done.dropped) & await partitions(database_url)
    assert asked == [first]


async def test_a_month_of_the_trail_stays_when_its_end_is_not_recorded(database_url: str) -> None:
    async def refuse(_connection: object, _partition: str) -> str:
        return "not sealed"

    first, end = await first_month(database_url)
    for reason, record in (("not sealed", refuse), ("nothing records its drop", None)):
        done = await maintain_partitions(database_url, keep=KEEP, now=end + KEEP, record_drop=record)
        assert done.kept == ((first, reason),)
        assert first in await partitions(database_url)


async def record_nothing(_connection: object, _partition: str) -> None:
    """Stands for the record of each drop."""


async def interrupted(url: str, now: datetime) -> None:
    """A run that is killed while a partition is half detached."""
    reader, other = [await asyncpg.connect(url) for _ in range(2)]
    transaction = reader.transaction()
    await transaction.start()
    await reader.execute("SELECT FROM audit_events")
    running = asyncio.create_task(maintain_partitions(url, keep=KEEP, now=now, record_drop=record_nothing))
    # It waits for the reader, and is killed there.
    async with asyncio.timeout(50):
        while not await other.fetchval("SELECT count(*) FROM pg_inherits WHERE inhdetachpending"):
            pass
    await other.execute(
        "SELECT pg_terminate_backend(l.pid) FROM pg_locks l JOIN pg_database d ON d.oid = l.database"
        " WHERE l.locktype = 'advisory' AND l.granted AND d.datname = current_database()"
    )
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await running
    await transaction.rollback()
    await reader.close()
    await other.close()


async def test_a_drop_that_was_interrupted_while_it_detached_is_finished(database_url: str) -> None:
    first, end = await first_month(database_url)
    await interrupted(database_url, end + KEEP)
    done = await maintain_partitions(database_url, keep=KEEP, now=end + KEEP, record_drop=record_nothing)
    assert first in done.dropped
    assert done.kept == ()


async def test_a_drop_that_was_interrupted_before_the_table_was_gone_is_finished_when_it_may_be(
    database_url: str,
) -> None:
    async def refuse(_connection: object, _partition: str) -> str:
        return "not sealed"

    first, end = await first_month(database_url)
    now = end + KEEP
    connection = await asyncpg.connect(database_url)
    # A dependent object prevents the drop after the detach.
    await connection.execute(f"CREATE VIEW hanging AS SELECT FROM {first}")
    with pytest.raises(asyncpg.DependentObjectsStillExistError):
        await maintain_partitions(database_url, keep=KEEP, now=now, record_drop=record_nothing)
    await connection.execute("DROP VIEW hanging")
    assert first not in await partitions(database_url)
    kept = await maintain_partitions(database_url, keep=KEEP, now=now, record_drop=refuse)
    assert kept.kept == ((first, "not sealed"),)
    within = timedelta(seconds=1)
    early = await maintain_partitions(database_url, keep=KEEP, now=now - within, record_drop=record_nothing)
    assert early.dropped == ()
    assert await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", first)
    done = await maintain_partitions(database_url, keep=KEEP, now=now, record_drop=record_nothing)
    assert first in done.dropped
    assert not await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", first)
    await connection.close()


async def test_a_month_that_somebody_else_detached_is_left_alone(database_url: str) -> None:
    first, end = await first_month(database_url)
    arguments = first.replace("audit_events", "audit_arguments")
    connection = await asyncpg.connect(database_url)
    await connection.execute(f"ALTER TABLE audit_events DETACH PARTITION {first}")
    await connection.execute(f"ALTER TABLE audit_arguments DETACH PARTITION {arguments}")
    await connection.execute(f"COMMENT ON TABLE {first} IS 'kept for the auditors'")
    done = await maintain_partitions(database_url, keep=KEEP, now=end + KEEP, record_drop=record_nothing)
    assert done.dropped == ()
    assert done.kept == ()
    for name in (first, arguments):
        assert await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", name)
    await connection.close()


async def test_a_month_that_somebody_else_began_to_detach_is_detached_and_stays(database_url: str) -> None:
    first, end = await first_month(database_url)
    await interrupted(database_url, end + KEEP)
    connection = await asyncpg.connect(database_url)
    await connection.execute(f"COMMENT ON TABLE {first} IS NULL")
    done = await maintain_partitions(database_url, keep=KEEP, now=end + KEEP, record_drop=record_nothing)
    assert [name for name, _ in done.kept] == [first]
    assert first not in await partitions(database_url)
    assert await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", first)
    await connection.close()


async def test_a_month_of_which_nothing_was_detached_yet_can_be_detached_to_be_kept(
    database_url: str,
) -> None:
    first, end = await first_month(database_url)
    connection = await asyncpg.connect(database_url)
    # The state after a run that was killed in between.
    await connection.execute(f"COMMENT ON TABLE {first} IS 'scopegate maintain is dropping this month'")
    await maintain_partitions(database_url, keep=KEEP, now=end, record_drop=record_nothing)
    await connection.execute(f"ALTER TABLE audit_events DETACH PARTITION {first}")
    done = await maintain_partitions(database_url, keep=KEEP, now=end + KEEP, record_drop=record_nothing)
    assert first not in done.dropped
    assert await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", first)
    await connection.close()


async def first_month(url: str) -> tuple[str, datetime]:
    """The oldest partition of the audit log, and when it ends."""
    first = min(name for name in await partitions(url) if name.startswith("audit_events_"))
    start = datetime.strptime(first, "audit_events_y%Ym%m").replace(tzinfo=UTC)
    return first, (start + timedelta(days=32)).replace(day=1)
