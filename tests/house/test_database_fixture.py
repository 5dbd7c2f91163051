"""Every test has a migrated database of its own, also a reused one."""

import asyncio
from typing import Any

import asyncpg
import pytest

from tests import database
from tests.admission.world import call_row, decision, make_world, writer_on


@pytest.mark.parametrize("turn", [1, 2])
async def test_a_test_sees_nothing_of_another(database_url: str, turn: int) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("CREATE TABLE mine (turn int)")
        await connection.execute("INSERT INTO mine VALUES ($1)", turn)
        assert await connection.fetchval("SELECT count(*) FROM mine") == 1
        assert await connection.fetchval("SELECT count(*) FROM alembic_version") == 1
    finally:
        await connection.close()


async def test_an_empty_database_holds_no_tables(empty_database_url: str) -> None:
    connection = await asyncpg.connect(empty_database_url)
    try:
        assert await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0
    finally:
        await connection.close()


async def dump(url: str) -> dict[str, Any]:
    """All rows of all tables, where the sequences are, and what there is besides."""
    connection = await asyncpg.connect(url)
    rows = {table: f"SELECT t::text FROM {table} t" for (table,) in await connection.fetch(TABLES)}
    everything = {}
    for name, query in (rows | CATALOG).items():
        everything[name] = sorted(str(tuple(row)) for row in await connection.fetch(query))
    await connection.close()
    return everything


TABLES = (
    "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
)
CATALOG = {
    "sequences": "SELECT * FROM pg_sequences",
    "relations": "SELECT relname, relkind, relacl, reloptions, relhastriggers, relispartition FROM pg_class"
    " WHERE relnamespace = 'public'::regnamespace",
    "columns": "SELECT attrelid::regclass::text, attname, format_type(atttypid, atttypmod), attnotnull, attnum"
    " FROM pg_attribute WHERE attrelid >= 16384",
    "defaults": "SELECT adrelid::regclass::text, adnum, pg_get_expr(adbin, adrelid) FROM pg_attrdef",
    "constraints": "SELECT conname, pg_get_constraintdef(oid), convalidated FROM pg_constraint",
    "indexes": "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid), indisvalid FROM pg_index",
    "triggers": "SELECT pg_get_triggerdef(oid), tgenabled FROM pg_trigger WHERE NOT tgisinternal",
    "functions": "SELECT proname, prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
    "settings": "SELECT setdatabase, setconfig FROM pg_db_role_setting",
}


async def may_put_back(url: str) -> bool:
    connection = await asyncpg.connect(url)
    superuser = await connection.fetchval("SELECT current_setting('is_superuser')::bool")
    await connection.close()
    return bool(superuser)


async def use(url: str) -> asyncpg.Connection:
    """As the gateway does, and worse: what the migrations wrote is changed too, and a session is left in the midst."""
    connection = await asyncpg.connect(url)
    world = await make_world(connection)
    async with writer_on(url) as writer:
        assert await writer.write(call_row(world, await decision(connection, world, "get_time")))
    await connection.execute(
        """
        INSERT INTO identities (id, kind, user_name, display_name)
        SELECT gen_random_uuid(), 'person', 'person-' || number, 'A person' FROM generate_series(1, 2000) number;
        UPDATE access_versions SET version = version + 1;
        DELETE FROM compatibility;
        UPDATE log_epochs SET system_identifier = 1;
        SELECT nextval('audit_events_seq');
        """
    )
    await connection.execute(
        "BEGIN; SELECT pg_advisory_lock(1); LOCK TABLE identities IN ACCESS EXCLUSIVE MODE"
    )
    await connection.execute("UPDATE identities SET display_name = 'Changed'")
    return connection


def test_a_database_that_was_used_is_put_back_to_what_it_was_made() -> None:
    with database.temporary_database(fresh=True) as url:
        if not asyncio.run(may_put_back(url)):
            pytest.skip("only a superuser deletes past triggers: others have a copy for each test")
        fresh = asyncio.run(dump(url))
    with asyncio.Runner() as runner:
        with database.temporary_database() as url:
            left_open = runner.run(use(url))
        for _ in range(2):
            with database.temporary_database() as again:
                assert again == url
                assert runner.run(dump(again)) == fresh
        left_open.terminate()


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE mine (turn int)",
        "ALTER TABLE identities ADD COLUMN mine int",
        "ALTER TABLE audit_events DISABLE TRIGGER audit_events_append_only",
        "ALTER TABLE tokens ALTER COLUMN id SET DEFAULT gen_random_uuid()",
        "CREATE INDEX mine ON identities (id)",
        "DROP INDEX ix_audit_events_refused",
        "TRUNCATE webhooks CASCADE",
        "CREATE OR REPLACE FUNCTION scopegate_epoch() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "GRANT SELECT ON identities TO PUBLIC",
        "CREATE SCHEMA mine",
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET jit = off', current_database()); END $$",
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I CONNECTION LIMIT 50', current_database()); END $$",
        "DO $$ BEGIN EXECUTE 'DROP TABLE audit_arguments_' || to_char(now(), '\"y\"YYYY\"m\"MM'); END $$",
        "SELECT lo_create(0)",
    ],
)
def test_a_database_with_a_changed_schema_is_not_reused(statement: str) -> None:
    async def execute(url: str) -> None:
        connection = await asyncpg.connect(url)
        await connection.execute(statement)
        await connection.close()

    with database.temporary_database() as url:
        asyncio.run(execute(url))
    with database.temporary_database() as other:
        assert other != url


def test_tests_within_one_another_have_databases_of_their_own() -> None:
    with database.temporary_database() as outer, database.temporary_database() as inner:
        assert outer != inner
