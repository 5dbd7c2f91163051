"""Databases that tests have one after the other: emptied between them rather than dropped and copied anew.

After each test a database is put back to what it was when it was made: its rows, its sequences. What would be
hard to put back (tables, columns, triggers, rights, settings of the database) is only looked at: where any of it
has changed, the database is dropped.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import asyncpg

# So many pages of deleted rows, and the table is vacuumed: until then each new row goes behind the last.
_BLOATED_PAGES = 16
_GOING_S = 50.0

# Whatever changes these writes a row of one of them; vacuuming does not (it changes rows in place).
_CATALOGS = (
    "pg_attrdef", "pg_attribute", "pg_cast", "pg_class", "pg_collation", "pg_constraint", "pg_default_acl",
    "pg_enum", "pg_event_trigger", "pg_extension", "pg_index", "pg_inherits", "pg_largeobject_metadata",
    "pg_namespace", "pg_operator", "pg_policy", "pg_proc", "pg_publication", "pg_rewrite", "pg_statistic_ext",
    "pg_trigger", "pg_type",
)  # fmt: skip
_OWN = {
    "pg_database": "WHERE datname = current_database()",
    "pg_db_role_setting": "WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())",
}
_CHANGED_SINCE = "count(*), count(*) FILTER (WHERE age(xmin) <= age($1::text::xid))"
_CATALOG = " UNION ALL ".join(
    f"SELECT '{name}' AS name, {_CHANGED_SINCE} FROM {name} {_OWN.get(name, '')}"
    for name in (*_CATALOGS, *_OWN)
)
_TABLES = """
SELECT c.oid::regclass::text AS name, pg_relation_size(c.oid) / current_setting('block_size')::int AS pages
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND pg_relation_size(c.oid) > 0
"""
_SEQUENCES = """
SELECT format('%I.%I', schemaname, sequencename) AS name, coalesce(last_value, start_value) AS value,
       last_value IS NOT NULL AS called
FROM pg_sequences
"""
_OTHERS = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
    AND pid <> ALL ($1::int[])
"""


class NotAsMade(Exception):
    """This database cannot be put back to what it was; it is to be dropped."""


@dataclass(frozen=True, slots=True)
class _AsMade:
    """What a database is when it is made: its rows by table, its sequences, and the marks of its catalog."""

    since: str
    catalog: frozenset[tuple[str, int, int]]
    rows: dict[str, str]
    sequences: dict[str, tuple[int, bool]]


class ReusedDatabase:
    """One database and a connection to it, which stays open from test to test."""

    def __init__(self, connection: asyncpg.Connection, as_made: _AsMade) -> None:
        self._connection = connection
        self._as_made = as_made

    @classmethod
    async def just_made(cls, url: str) -> Self:
        """Of a database that nobody has used yet."""
        connection = await asyncpg.connect(url)
        since = await connection.fetchval("SELECT pg_snapshot_xmax(pg_current_snapshot())::xid::text")
        rows = await _rows(connection, [str(table["name"]) for table in await connection.fetch(_TABLES)])
        as_made = _AsMade(since, await _catalog(connection, since), rows, await _sequences(connection))
        return cls(connection, as_made)

    async def put_back(self, kept: Iterable[int] = ()) -> None:
        """Make it what it was. Of other connections, only those of the server processes ``kept`` stay.

        Raises:
            NotAsMade: that cannot be done.
            asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError: the connection or a statement failed.
        """
        async with asyncio.timeout(_GOING_S):
            # Until all are gone: one of them may be about to commit.
            while await self._connection.fetchval(_OTHERS, list(kept)):
                await self._connection.execute("SELECT pg_sleep(0.001)")
        if await _catalog(self._connection, self._as_made.since) != self._as_made.catalog:
            raise NotAsMade("its catalog has changed")
        written = await self._connection.fetch(_TABLES)
        await self._replace_rows({str(table["name"]) for table in written})
        for name, state in (await _sequences(self._connection)).items():
            first = self._as_made.sequences[name]
            if state != first:
                await self._connection.execute("SELECT setval($1::text::regclass, $2, $3)", name, *first)
        for table in written:
            if table["pages"] > _BLOATED_PAGES:
                await self._connection.execute(f"VACUUM {table['name']}")

    async def _replace_rows(self, written: set[str]) -> None:
        made = self._as_made.rows
        changed = [
            table for table, rows in (await _rows(self._connection, made)).items() if rows != made[table]
        ]
        emptied = [*(written - made.keys()), *changed]
        # Without the triggers: those of foreign keys, and those that keep the trail from being changed.
        emptying = [
            "SET LOCAL session_replication_role = replica",
            *(f"DELETE FROM {table}" for table in emptied),
        ]
        async with self._connection.transaction():
            await self._connection.execute(";".join(emptying))
            for table in changed:
                await self._connection.execute(
                    f"INSERT INTO {table} SELECT * FROM jsonb_populate_recordset(NULL::{table}, $1::text::jsonb)",
                    made[table],
                )

    async def close(self) -> None:
        """Let go of it."""
        self._connection.terminate()


async def _rows(connection: asyncpg.Connection, tables: Iterable[str]) -> dict[str, str]:
    query = " UNION ALL ".join(
        f"SELECT '{table}', coalesce(jsonb_agg(to_jsonb(t) ORDER BY t::text), '[]')::text FROM {table} t"
        for table in tables
    )
    return {str(row[0]): str(row[1]) for row in await connection.fetch(query)} if query else {}


async def _catalog(connection: asyncpg.Connection, since: str) -> frozenset[tuple[str, int, int]]:
    return frozenset(tuple(row) for row in await connection.fetch(_CATALOG, since))


async def _sequences(connection: asyncpg.Connection) -> dict[str, tuple[int, bool]]:
    return {str(row["name"]): (row["value"], row["called"]) for row in await connection.fetch(_SEQUENCES)}
