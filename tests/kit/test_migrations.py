"""The migrated database is what the code's tables say, and refuses code and roles that it should refuse."""

import asyncio
import importlib
from uuid import uuid4

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from app.kit import migrations
from app.kit.database import async_url, plain_url
from app.kit.migrations import DatabaseFault, check_compatible, upgrade
from app.kit.tables import metadata

FEATURES = (
    "audit", "administrators", "identity_providers", "identities", "service_accounts", "groups", "servers",
    "tools", "policies", "approvals", "grants", "tokens", "access", "webhooks",
)  # fmt: skip


def differences(connection: Connection) -> list[object]:
    def ours(name: str | None, kind: str, _parents: object) -> bool:
        # Partitions are made month by month, not declared.
        return kind != "table" or name in metadata.tables

    options = {"compare_type": True, "compare_server_default": False, "include_name": ours}
    found: list[object] = compare_metadata(MigrationContext.configure(connection, opts=options), metadata)
    # Indexes over expressions cannot be compared; they are named in both places.
    return [one for one in found if not (isinstance(one, tuple) and str(one[0]).endswith("_index"))]


@pytest.mark.filterwarnings("ignore::UserWarning:alembic")
@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")
async def test_the_migrations_make_just_the_tables_of_the_code(database_url: str) -> None:
    for feature in FEATURES:
        importlib.import_module(f"app.features.{feature}.models")
    engine = create_async_engine(async_url(database_url))
    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []
    await engine.dispose()


async def test_an_index_of_the_code_exists_in_the_database(database_url: str) -> None:
    connection = await asyncpg.connect(plain_url(database_url))
    existing = {row["indexname"] for row in await connection.fetch("SELECT indexname FROM pg_indexes")}
    await connection.close()
    assert {index.name for table in metadata.tables.values() for index in table.indexes} <= existing


async def test_two_processes_may_migrate_at_once(empty_database_url: str) -> None:
    await asyncio.gather(upgrade(empty_database_url), upgrade(empty_database_url))
    await check_compatible(empty_database_url)


async def test_a_database_without_the_schema_says_what_to_run(empty_database_url: str) -> None:
    with pytest.raises(DatabaseFault, match="scopegate migrate"):
        await check_compatible(empty_database_url)


async def test_a_database_that_no_longer_serves_this_code_is_refused(database_url: str) -> None:
    connection = await asyncpg.connect(plain_url(database_url))
    await connection.execute("UPDATE compatibility SET oldest_generation = $1", migrations.GENERATION + 1)
    await connection.close()
    with pytest.raises(DatabaseFault, match="no longer serves this code"):
        await check_compatible(database_url)


async def test_an_unreachable_database_is_one_line() -> None:
    with pytest.raises(DatabaseFault) as caught:
        await check_compatible("postgresql://nobody:secret@127.0.0.1:1/nothing")
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


async def test_the_serving_role_may_append_to_the_log_and_not_change_it(database_url: str) -> None:
    role = f"serving_{uuid4().hex}"
    owner = await asyncpg.connect(plain_url(database_url))
    await owner.execute(f'CREATE ROLE "{role}" LOGIN')
    try:
        await upgrade(database_url, serving_role=role)
        partition = await owner.fetchval(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'audit_events'::regclass LIMIT 1"
        )
        await owner.execute(f'SET ROLE "{role}"')
        await owner.execute(
            "INSERT INTO audit_events (id, action, actor_type) VALUES (gen_random_uuid(), 'x', 'system')"
        )
        for statement in (
            "UPDATE audit_events SET action = 'y'",
            "DELETE FROM audit_events",
            "DELETE FROM audit_checkpoints",
            "TRUNCATE audit_events",
            "CREATE TABLE mine (id int)",
            f"DELETE FROM {partition}",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await owner.execute(statement)
    finally:
        await owner.execute("RESET ROLE")
        await owner.execute(f'DROP OWNED BY "{role}"')
        await owner.execute(f'DROP ROLE "{role}"')
        await owner.close()
