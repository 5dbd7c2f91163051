"""Loads an organization, as after some weeks of use, into an empty, migrated database by COPY."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from time import perf_counter
from uuid import UUID

import asyncpg

from app.crypto.keys import Peppers
from app.db.engine import make_engine, make_sessions
from app.db.partitions import maintain_partitions
from app.domain.token_format import SCOPED_TOKEN, format_credential
from app.features.audit.stats import HourCounts
from bench.scale.audit_log import AuditLog
from bench.scale.fleet import make_fleet
from bench.scale.people import People, make_people
from bench.scale.rows import TableRows
from bench.scale.sizes import Size
from bench.seed import Seeded
from bench.testbed import Filling

DAYS = 45
"""The age of the oldest audit event."""
_A_MOMENT_S = 60.0
"""The age of the newest loaded data, which is older than all measured data."""
_FOR_EVER = timedelta(days=4000)
_TIMEOUT_S = 3600
# Indexes of constraints stay, because the rows are loaded in their order.
_INDEXES = """
SELECT i.indexrelid::regclass::text AS name, pg_get_indexdef(i.indexrelid) AS definition
FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
WHERE i.indrelid = ANY($1::text[]::regclass[])
    AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = i.indexrelid)
ORDER BY 1
"""
# Consume the transaction ids that the loaded audit log contains.
_USE_UP = """
DO $$ BEGIN
    FOR n IN 1..{} LOOP
        PERFORM pg_current_xact_id();
        COMMIT;
    END LOOP;
END $$
"""
_SEALED = "SELECT coalesce(max(tree_size), 0) FROM audit_checkpoints"
_PLACE = """
SELECT scopegate_epoch() AS epoch, pg_current_xact_id()::text::bigint + 1 AS xact,
    nextval('audit_events_seq') + 1 AS seq, (SELECT id FROM service_accounts LIMIT 1) AS account
"""


@dataclass(frozen=True, slots=True)
class Loaded(Seeded):
    """The loaded organization, and what the load needs of it."""

    people: People
    audit_log: AuditLog
    events: int
    """Written audit events."""

    @property
    def size(self) -> Size:
        """The size of the organization."""
        return self.people.size


def seeding(size: Size, steps: Callable[[str, float], None] = lambda step, seconds: None) -> Filling:
    """Return a function that fills a database. It calls ``steps`` with the name and seconds of each step."""

    async def seed(owner_url: str, pepper: bytes, upstream_url: str) -> Loaded:
        return await load(owner_url, Peppers([pepper]), upstream_url, size, steps)

    return seed


async def load(
    owner_url: str,
    peppers: Peppers,
    upstream_url: str,
    size: Size,
    steps: Callable[[str, float], None] = lambda step, seconds: None,
) -> Loaded:
    """Load an organization, and update derived data. The database must have a service account.

    Raises ``asyncpg.PostgresError`` if the database refuses a row.
    """
    now = datetime.now(UTC)
    begins = now - timedelta(days=DAYS)
    await maintain_partitions(owner_url, keep=_FOR_EVER, now=begins)
    connection = await asyncpg.connect(owner_url)
    try:
        await connection.execute("SET synchronous_commit = off; SET maintenance_work_mem = '512MB'")
        ends = now.timestamp() - _A_MOMENT_S
        fleet = make_fleet(size, upstream_url, begins.timestamp(), ends)
        people = make_people(size, fleet, peppers, begins.timestamp(), ends)
        place = await connection.fetchrow(_PLACE)
        if place is None or place["account"] is None:
            raise ValueError("there is no service account to have issued the tokens")
        audit_log = AuditLog(
            people,
            place["account"].hex,
            begins.timestamp(),
            ends,
            place["epoch"],
            place["xact"],
            place["seq"],
        )
        clock = _Clock(steps)
        await connection.execute(_USE_UP.format(audit_log.commits), timeout=_TIMEOUT_S)
        clock.done("transaction ids used up")
        events = await _copy(connection, list(_tables(people, audit_log)), clock)
        await connection.execute("SELECT setval('audit_events_seq', $1)", audit_log.seq + audit_log.events)
        await connection.execute("VACUUM ANALYZE", timeout=_TIMEOUT_S)
        clock.done("vacuumed and analysed")
    finally:
        await connection.close()
    await _count_hours(owner_url)
    clock.done("hours counted")
    return _loaded(people, audit_log, events)


async def until_sealed(owner_url: str, events: int) -> None:
    """Wait until a service has sealed this many events."""
    connection = await asyncpg.connect(owner_url)
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            # There is no notification of the progress.
            while await connection.fetchval(_SEALED) < events:  # noqa: ASYNC110
                await asyncio.sleep(0.2)
    finally:
        await connection.close()


class _Clock:
    """Measures the steps."""

    def __init__(self, steps: Callable[[str, float], None]) -> None:
        self._steps = steps
        self._since = perf_counter()

    def done(self, step: str) -> None:
        """Report the duration of a step, and start the next."""
        now = perf_counter()
        self._steps(step, now - self._since)
        self._since = now


def _tables(people: People, audit_log: AuditLog) -> Iterator[TableRows]:
    yield from people.fleet.tables()
    yield from people.tables()
    ids = chain((id for id, _ in people.fleet.servers), people.ids())
    yield TableRows("access_versions", ("id", "version"), (f"{id}\t1" for id in ids))
    yield from audit_log.tables()


async def _copy(connection: asyncpg.Connection, tables: list[TableRows], clock: _Clock) -> int:
    """Copy the rows; returns the number of rows in the last table."""
    copied = ""
    names = sorted({table.table for table in tables})
    indexes = await connection.fetch(_INDEXES, names)
    for index in indexes:
        await connection.execute(f"DROP INDEX {index['name']}")
    for table in tables:
        copied = await connection.copy_to_table(
            table.table, source=table.chunks(), columns=table.columns, format="text", timeout=_TIMEOUT_S
        )
        clock.done(table.table)
    for index in indexes:
        # PostgreSQL prints the index of a partitioned table with ONLY. Create it for the partitions too.
        await connection.execute(index["definition"].replace(" ON ONLY ", " ON "), timeout=_TIMEOUT_S)
    clock.done(f"{len(indexes)} indexes")
    return int(copied.rpartition(" ")[2])


async def _count_hours(owner_url: str) -> None:
    engine = make_engine(owner_url)
    try:
        await HourCounts(make_sessions(engine)).round()
    finally:
        await engine.dispose()


def _loaded(people: People, audit_log: AuditLog, events: int) -> Loaded:
    tokens = [UUID(people.tokens[number][0]) for number in people.called()]
    return Loaded(
        server=UUID(people.fleet.servers[0][0]),
        groups=[UUID(id) for id, _ in people.groups],
        identities=[UUID(id) for id, _ in people.identities],
        tokens=tokens,
        credentials=[
            format_credential(SCOPED_TOKEN, token, secret)
            for token, secret in zip(tokens, people.secrets, strict=True)
        ],
        people=people,
        audit_log=audit_log,
        events=events,
    )
