"""The months of the audit tables: made ahead, dropped when they are older than what is kept.

For the owner of the tables alone; the serving role can do neither. A month is made by ``LIKE`` and ``ATTACH``
and dropped by ``DETACH CONCURRENTLY`` and ``DROP``, none of which waits behind admissions or holds them up.
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import asyncpg

from app.kit.database import plain_url

PARENTS = ("audit_events", "audit_arguments")
MONTHS_AHEAD = 3

_NAME = re.compile(r"(?P<parent>[a-z_]+)_y(?P<year>\d{4})m(?P<month>\d{2})")
# One maintainer at a time: two would make the same month.
_LOCK = 0x5C09E0A17


@dataclass(frozen=True, slots=True)
class Maintained:
    """The names of the partitions that were made and dropped."""

    made: tuple[str, ...]
    dropped: tuple[str, ...]


async def maintain_partitions(owner_url: str, *, keep: timedelta, now: datetime) -> Maintained:
    """Make this month's partitions and ``MONTHS_AHEAD`` more, drop those that ended before ``now - keep``.

    Raises ``asyncpg.PostgresError`` or ``OSError`` when the database cannot do it.
    """
    connection = await asyncpg.connect(plain_url(owner_url), timeout=10)
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
        made: list[str] = []
        dropped: list[str] = []
        for parent in PARENTS:
            made += await _make_ahead(connection, parent, now)
            dropped += await _drop_old(connection, parent, now - keep)
        return Maintained(tuple(made), tuple(dropped))
    finally:
        # Ends the session, and the lock with it.
        await connection.close()


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
            made.append(name)
        start = end
    return made


async def _drop_old(connection: asyncpg.Connection, parent: str, oldest: datetime) -> list[str]:
    dropped = []
    partitions = await connection.fetch(
        "SELECT c.relname AS name, i.inhdetachpending AS pending FROM pg_inherits AS i "
        "JOIN pg_class AS c ON c.oid = i.inhrelid WHERE i.inhparent = $1::regclass ORDER BY c.relname",
        parent,
    )
    for partition in partitions:
        name = str(partition["name"])
        match = _NAME.fullmatch(name)
        if match is None or match["parent"] != parent:
            continue
        end = _next_month(date(int(match["year"]), int(match["month"]), 1))
        if datetime(end.year, end.month, end.day, tzinfo=UTC) > oldest:
            continue
        # An earlier run that was interrupted has left the detaching half done.
        how = "FINALIZE" if partition["pending"] else "CONCURRENTLY"
        await connection.execute(f"ALTER TABLE {parent} DETACH PARTITION {name} {how}")
        await connection.execute(f"DROP TABLE {name}")
        dropped.append(name)
    return dropped


def _next_month(start: date) -> date:
    return (start + timedelta(days=32)).replace(day=1)
