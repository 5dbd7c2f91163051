"""Monthly partitions of the audit tables: created ahead of time and dropped after the retention.

Requires the owner of the tables, not the serving role. A partition is created by ``LIKE`` and ``ATTACH`` and dropped by
``DETACH CONCURRENTLY`` and ``DROP``, none of which blocks admissions or waits for them.

A run can be killed between the two. So a comment on its table marks a partition before it is detached, and the next
run finishes the marked ones. A partition that was detached by hand has no mark and is never dropped.
"""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import MAXYEAR, UTC, date, datetime, timedelta
from typing import TypeAlias

import asyncpg

from app.db.engine import plain_connection

AUDIT_LOG = "audit_events"
PARENTS = (AUDIT_LOG, "audit_arguments")
MONTHS_AHEAD = 3
RecordDrop: TypeAlias = Callable[["asyncpg.Connection[asyncpg.Record]", str], Awaitable[str | None]]
"""Records in the audit log that a partition of it is about to be dropped, or returns why it must be kept."""

_PARTITION_NAME = re.compile(r"(?P<parent>[a-z_]+)_y(?P<year>(?!0000)[0-9]{4})m(?P<month>0[1-9]|1[0-2])")
_NO_TRUNCATE = (
    "CREATE TRIGGER audit_events_no_truncate BEFORE TRUNCATE ON {} "
    "FOR EACH STATEMENT EXECUTE FUNCTION scopegate_refuse_change()"
)
_MARK = "scopegate maintain is dropping this month"
_DETACHED_BY_OTHERS = "another program detached it; it is a separate table now and is kept"
_FIND_PARTITIONS = """
SELECT c.relname AS name, i.inhrelid IS NOT NULL AS attached, coalesce(i.inhdetachpending, false) AS pending,
    obj_description(c.oid, 'pg_class') IS NOT DISTINCT FROM $2 AS marked
FROM pg_class AS p JOIN pg_class AS c ON c.relnamespace = p.relnamespace
LEFT JOIN pg_inherits AS i ON i.inhrelid = c.oid
WHERE p.oid = $1::regclass AND (
    i.inhparent = p.oid OR (i.inhrelid IS NULL AND c.relkind = 'r' AND obj_description(c.oid, 'pg_class') = $2))
ORDER BY c.relname
"""
# One run at a time: two would create the same partition.
_LOCK = 0x5C09E0A17


@dataclass(frozen=True, slots=True)
class MaintenanceResult:
    """The names of the created and dropped partitions, and of those that were kept, with the reasons."""

    made: tuple[str, ...]
    dropped: tuple[str, ...]
    kept: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class _Month:
    """A monthly partition: attached, half detached (``pending``), or left over from an interrupted drop."""

    name: str
    ended: datetime
    attached: bool
    pending: bool
    marked: bool


async def maintain_partitions(
    owner_url: str, *, keep: timedelta, now: datetime, record_drop: RecordDrop | None = None
) -> MaintenanceResult:
    """Create the partitions of this month and ``MONTHS_AHEAD`` more, drop those that ended before ``now - keep``, and
    finish interrupted drops.

    Without ``record_drop``, no partition of the audit log is dropped.

    Raises ``DRIVER_FAULTS``.
    """
    created: list[str] = []
    dropped: list[str] = []
    kept: list[tuple[str, str]] = []
    async with plain_connection(owner_url) as connection:
        # Held until the end of the session.
        await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
        for parent in PARENTS:
            created += await _create_ahead(connection, parent, now)
        for parent in PARENTS:
            for month in await _months(connection, parent):
                if month.ended > now - keep:
                    continue
                reason = await _drop(connection, parent, month, record_drop)
                if reason is None:
                    dropped.append(month.name)
                else:
                    kept.append((month.name, reason))
    return MaintenanceResult(tuple(created), tuple(dropped), tuple(kept))


async def _create_ahead(connection: asyncpg.Connection, parent: str, now: datetime) -> list[str]:
    created = []
    start = now.astimezone(UTC).date().replace(day=1)
    for _ in range(MONTHS_AHEAD + 1):
        end = _next_month(start)
        name = f"{parent}_y{start:%Y}m{start:%m}"
        if not await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", name):
            # One transaction, so that the table never exists unattached.
            async with connection.transaction():
                await connection.execute(
                    f"CREATE TABLE {name} (LIKE {parent} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)"
                )
                await connection.execute(
                    f"ALTER TABLE {parent} ATTACH PARTITION {name} "
                    f"FOR VALUES FROM ('{start} 00:00:00+00') TO ('{end} 00:00:00+00')"
                )
                if parent == AUDIT_LOG:
                    # The trigger of the parent table does not fire for a partition.
                    await connection.execute(_NO_TRUNCATE.format(name))
            created.append(name)
        start = end
    return created


def partition_month(name: str, parent: str = AUDIT_LOG) -> tuple[datetime, datetime] | None:
    """When the month of a partition begins and ends; ``None`` for a name of another form."""
    match = _PARTITION_NAME.fullmatch(name)
    if match is None or match["parent"] != parent:
        return None
    start = date(int(match["year"]), int(match["month"]), 1)
    if start.year == MAXYEAR:
        return None
    first, end = (datetime(day.year, day.month, 1, tzinfo=UTC) for day in (start, _next_month(start)))
    return first, end


async def _months(connection: asyncpg.Connection, parent: str) -> list[_Month]:
    """The partitions of a table, oldest first, and those that an interrupted drop left detached."""
    months = []
    for row in await connection.fetch(_FIND_PARTITIONS, parent, _MARK):
        month = partition_month(row["name"], parent)
        if month is None:
            continue
        marked = row["marked"]
        if marked and row["attached"] and not row["pending"]:
            # The drop has not started, and until then an operator can detach the partition to keep it.
            await _mark(connection, row["name"], "NULL")
            marked = False
        months.append(_Month(row["name"], month[1], row["attached"], row["pending"], marked))
    return months


async def _drop(
    connection: asyncpg.Connection, parent: str, month: _Month, record_drop: RecordDrop | None
) -> str | None:
    """Drop a partition, or finish an interrupted drop. Returns why it is kept, if so."""
    if month.pending:
        # Until this is done, no other partition can be detached.
        await connection.execute(f"ALTER TABLE {parent} DETACH PARTITION {month.name} FINALIZE")
        if not month.marked:
            return _DETACHED_BY_OTHERS
    if parent == AUDIT_LOG:
        # Partitions of other tables are dropped without an event.
        reason = (
            "nothing records its drop" if record_drop is None else await record_drop(connection, month.name)
        )
        if reason is not None:
            return reason
    if month.attached and not month.pending:
        await _mark(connection, month.name, f"'{_MARK}'")
        await connection.execute(f"ALTER TABLE {parent} DETACH PARTITION {month.name} CONCURRENTLY")
    await connection.execute(f"DROP TABLE {month.name}")
    return None


async def _mark(connection: asyncpg.Connection, name: str, mark: str) -> None:
    """Set the comment of a partition; ``mark`` is an SQL literal."""
    await connection.execute(f"COMMENT ON TABLE {name} IS {mark}")


def _next_month(start: date) -> date:
    return (start + timedelta(days=32)).replace(day=1)
