"""The months of the audit tables: made ahead, dropped when they are older than what is kept.

For the owner of the tables alone; the serving role can do neither. A month is made by ``LIKE`` and ``ATTACH``
and dropped by ``DETACH CONCURRENTLY`` and ``DROP``, none of which waits behind admissions or holds them up.

A run may be killed between the two. So a month is marked before it is detached, by a comment on its table, and the next
run finishes what is marked. What somebody else detached has no mark, and nobody here drops it.
"""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import MAXYEAR, UTC, date, datetime, timedelta
from typing import TypeAlias

import asyncpg

from app.db.engine import plain_url

TRAIL = "audit_events"
PARENTS = (TRAIL, "audit_arguments")
MONTHS_AHEAD = 3
RecordDrop: TypeAlias = Callable[["asyncpg.Connection[asyncpg.Record]", str], Awaitable[str | None]]
"""Records in the trail that a month of it is about to be dropped, or answers why it must be kept."""

_NAME = re.compile(r"(?P<parent>[a-z_]+)_y(?P<year>\d{4})m(?P<month>\d{2})")
_NO_TRUNCATE = (
    "CREATE TRIGGER audit_events_no_truncate BEFORE TRUNCATE ON {} "
    "FOR EACH STATEMENT EXECUTE FUNCTION scopegate_refuse_change()"
)
_MARK = "scopegate maintain is dropping this month"
_BY_OTHERS = "its detaching was not begun by this command; it is a table of its own now, and stays"
_FOUND = """
SELECT c.relname AS name, i.inhrelid IS NOT NULL AS attached, coalesce(i.inhdetachpending, false) AS pending,
    obj_description(c.oid, 'pg_class') IS NOT DISTINCT FROM $2 AS marked
FROM pg_class AS p JOIN pg_class AS c ON c.relnamespace = p.relnamespace
LEFT JOIN pg_inherits AS i ON i.inhrelid = c.oid
WHERE p.oid = $1::regclass AND (
    i.inhparent = p.oid OR (i.inhrelid IS NULL AND c.relkind = 'r' AND obj_description(c.oid, 'pg_class') = $2))
ORDER BY c.relname
"""
# One maintainer at a time: two would make the same month.
_LOCK = 0x5C09E0A17


@dataclass(frozen=True, slots=True)
class Maintained:
    """The names of the partitions that were made and dropped, and of those that were not dropped, with the reasons."""

    made: tuple[str, ...]
    dropped: tuple[str, ...]
    kept: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class _Month:
    """A month's table as it is found: attached (``pending``: the detaching of it is half done) or left by a drop."""

    name: str
    ended: datetime
    attached: bool
    pending: bool
    marked: bool


async def maintain_partitions(
    owner_url: str, *, keep: timedelta, now: datetime, record_drop: RecordDrop | None = None
) -> Maintained:
    """Make this month's partitions and ``MONTHS_AHEAD`` more, drop those that ended before ``now - keep``, and finish
    the drops that were interrupted.

    Without ``record_drop``, no month of the trail is dropped.

    Raises ``asyncpg.PostgresError`` or ``OSError`` when the database cannot do it.
    """
    connection = await asyncpg.connect(plain_url(owner_url), timeout=10)
    made: list[str] = []
    dropped: list[str] = []
    kept: list[tuple[str, str]] = []
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
        for parent in PARENTS:
            made += await _make_ahead(connection, parent, now)
        for parent in PARENTS:
            record = _of_no_trail if parent != TRAIL else record_drop or _keep
            for month in await _months(connection, parent):
                if month.ended > now - keep:
                    continue
                reason = await _drop(connection, parent, month, record)
                if reason is None:
                    dropped.append(month.name)
                else:
                    kept.append((month.name, reason))
    finally:
        # Ends the session, and the lock with it.
        await connection.close()
    return Maintained(tuple(made), tuple(dropped), tuple(kept))


async def _keep(_connection: asyncpg.Connection, _name: str) -> str:
    return "nobody records that it is dropped"


async def _of_no_trail(_connection: asyncpg.Connection, _name: str) -> None:
    """What is not of the trail goes without a record."""


async def _make_ahead(connection: asyncpg.Connection, parent: str, now: datetime) -> list[str]:
    made = []
    start = now.astimezone(UTC).date().replace(day=1)
    for _ in range(MONTHS_AHEAD + 1):
        end = _next_month(start)
        name = f"{parent}_y{start:%Y}m{start:%m}"
        if not await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", name):
            # Attached in the same transaction: a month is never there without being of use.
            async with connection.transaction():
                await connection.execute(
                    f"CREATE TABLE {name} (LIKE {parent} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)"
                )
                await connection.execute(
                    f"ALTER TABLE {parent} ATTACH PARTITION {name} "
                    f"FOR VALUES FROM ('{start} 00:00:00+00') TO ('{end} 00:00:00+00')"
                )
                if parent == TRAIL:
                    # The one of the whole trail does not fire for a month of it.
                    await connection.execute(_NO_TRUNCATE.format(name))
            made.append(name)
        start = end
    return made


def month_of(name: str, parent: str = TRAIL) -> tuple[datetime, datetime] | None:
    """When the month of a partition begins and ends; None for what is the name of none."""
    match = _NAME.fullmatch(name)
    if (
        match is None
        or match["parent"] != parent
        or not 1 <= int(match["month"]) <= 12
        or match["year"] == "0000"
    ):
        return None
    start = date(int(match["year"]), int(match["month"]), 1)
    if start.year == MAXYEAR:
        return None
    first, end = (datetime(day.year, day.month, 1, tzinfo=UTC) for day in (start, _next_month(start)))
    return first, end


async def _months(connection: asyncpg.Connection, parent: str) -> list[_Month]:
    """The months of a table, oldest first, and those that an interrupted drop has left detached."""
    found = []
    for row in await connection.fetch(_FOUND, parent, _MARK):
        month = month_of(row["name"], parent)
        if month is None:
            continue
        marked = row["marked"]
        if marked and row["attached"] and not row["pending"]:
            # Nothing of it is done yet, and until it is, somebody may still detach it to keep it.
            await _mark(connection, row["name"], "NULL")
            marked = False
        found.append(_Month(row["name"], month[1], row["attached"], row["pending"], marked))
    return found


async def _drop(connection: asyncpg.Connection, parent: str, month: _Month, record: RecordDrop) -> str | None:
    """Drop a month, or finish that; or answer why it stays."""
    if month.pending:
        # Until that is done, no other can be detached.
        await connection.execute(f"ALTER TABLE {parent} DETACH PARTITION {month.name} FINALIZE")
        if not month.marked:
            return _BY_OTHERS
    reason = await record(connection, month.name)
    if reason is not None:
        return reason
    if month.attached and not month.pending:
        await _mark(connection, month.name, f"'{_MARK}'")
        await connection.execute(f"ALTER TABLE {parent} DETACH PARTITION {month.name} CONCURRENTLY")
    await connection.execute(f"DROP TABLE {month.name}")
    return None


async def _mark(connection: asyncpg.Connection, name: str, mark: str) -> None:
    """Say on a month's table, as SQL writes it, that it is being dropped."""
    await connection.execute(f"COMMENT ON TABLE {name} IS {mark}")


def _next_month(start: date) -> date:
    return (start + timedelta(days=32)).replace(day=1)
