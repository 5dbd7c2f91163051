"""The months of the audit tables: made ahead, dropped when they are older than what is kept.

For the owner of the tables alone; the serving role can do neither. A month is made by ``LIKE`` and ``ATTACH``
and dropped by ``DETACH CONCURRENTLY`` and ``DROP``, none of which waits behind admissions or holds them up.
"""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import MAXYEAR, UTC, date, datetime, timedelta
from typing import TypeAlias

import asyncpg

from app.kit.database import plain_url

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
# One maintainer at a time: two would make the same month.
_LOCK = 0x5C09E0A17


@dataclass(frozen=True, slots=True)
class Maintained:
    """The names of the partitions that were made and dropped, and of those that were not dropped, with the reasons."""

    made: tuple[str, ...]
    dropped: tuple[str, ...]
    kept: tuple[tuple[str, str], ...]


async def maintain_partitions(
    owner_url: str, *, keep: timedelta, now: datetime, record_drop: RecordDrop | None = None
) -> Maintained:
    """Make this month's partitions and ``MONTHS_AHEAD`` more, drop those that ended before ``now - keep``.

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
            for name, pending in await _old(connection, parent, now - keep):
                # One that an interrupted run has begun to detach is on record.
                if parent == TRAIL and not pending:
                    reason = await (record_drop or _keep)(connection, name)
                    if reason is not None:
                        kept.append((name, reason))
                        continue
                await _drop(connection, parent, name, pending=pending)
                dropped.append(name)
    finally:
        # Ends the session, and the lock with it.
        await connection.close()
    return Maintained(tuple(made), tuple(dropped), tuple(kept))


async def _keep(_connection: asyncpg.Connection, _name: str) -> str:
    return "nobody records that it is dropped"


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


async def _old(connection: asyncpg.Connection, parent: str, oldest: datetime) -> list[tuple[str, bool]]:
    """The partitions that ended by then, oldest first, and whether the detaching of one is half done."""
    partitions = await connection.fetch(
        "SELECT c.relname AS name, i.inhdetachpending AS pending FROM pg_inherits AS i "
        "JOIN pg_class AS c ON c.oid = i.inhrelid WHERE i.inhparent = $1::regclass ORDER BY c.relname",
        parent,
    )
    found = []
    for partition in partitions:
        name = str(partition["name"])
        month = month_of(name, parent)
        if month is not None and month[1] <= oldest:
            found.append((name, bool(partition["pending"])))
    return found


async def _drop(connection: asyncpg.Connection, parent: str, name: str, *, pending: bool) -> None:
    how = "FINALIZE" if pending else "CONCURRENTLY"
    await connection.execute(f"ALTER TABLE {parent} DETACH PARTITION {name} {how}")
    await connection.execute(f"DROP TABLE {name}")


def _next_month(start: date) -> date:
    return (start + timedelta(days=32)).replace(day=1)
