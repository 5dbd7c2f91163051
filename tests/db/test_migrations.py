"""The migrated schema matches the models, and incompatible code and roles are rejected."""

import asyncio
import importlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pkgutil import iter_modules
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from alembic import command
from app import models
from app.db import migrations
from app.db.engine import plain_url
from app.db.migrations import DatabaseFault, check_compatible, upgrade
from app.features.audit.epochs import ensure_epoch
from app.models.base import metadata
from tests.database import needs_lock_timeouts


def differences(connection: Connection) -> list[object]:
    def ours(name: str | None, kind: str, _parents: object) -> bool:
        # Partitions are created monthly, not declared.
        return kind != "table" or name in metadata.tables

    options = {"compare_type": True, "compare_server_default": False, "include_name": ours}
    found: list[object] = compare_metadata(MigrationContext.configure(connection, opts=options), metadata)
    # Indexes over expressions cannot be compared; both sides name them.
    return [one for one in found if not (isinstance(one, tuple) and str(one[0]).endswith("_index"))]


@pytest.mark.filterwarnings("ignore::UserWarning:alembic")
@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")
async def test_the_migrations_make_just_the_tables_of_the_code(database_url: str) -> None:
    for module in iter_modules(models.__path__):
        importlib.import_module(f"app.models.{module.name}")
    engine = create_async_engine(plain_url(database_url).replace("postgresql", "postgresql+asyncpg", 1))
    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []
    await engine.dispose()


async def test_the_indexes_of_the_code_are_those_of_the_database(
    database_url: str, empty_database_url: str
) -> None:
    migrated = await asyncpg.connect(plain_url(database_url))
    made = await asyncpg.connect(plain_url(empty_database_url))
    # Objects that the models depend on but do not declare.
    await made.execute("CREATE FUNCTION scopegate_epoch() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    await made.execute(
        "CREATE FUNCTION scopegate_trigrams(text) RETURNS text[] IMMUTABLE LANGUAGE sql AS 'SELECT ARRAY[$1]'"
    )
    await made.execute("CREATE SEQUENCE audit_events_seq")
    engine = create_async_engine(plain_url(empty_database_url).replace("postgresql", "postgresql+asyncpg", 1))
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
    await engine.dispose()
    of_tables = (
        "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename = ANY($1) ORDER BY 1"
    )
    in_code, in_database = [
        [row["indexdef"] for row in await each.fetch(of_tables, [*metadata.tables])]
        for each in (made, migrated)
    ]
    broken_off = await migrated.fetch("SELECT FROM pg_index WHERE NOT indisvalid")
    await migrated.close()
    await made.close()
    assert in_code == in_database
    assert broken_off == []


async def test_two_processes_may_migrate_at_once(empty_database_url: str) -> None:
    await asyncio.gather(upgrade(empty_database_url), upgrade(empty_database_url))
    await check_compatible(empty_database_url)


@dataclass(frozen=True, slots=True)
class TwoRoles:
    """An empty database of a role that can only log in, and another such role."""

    owner_url: str
    serving_url: str
    serving: str


@pytest.fixture
async def two_roles(empty_database_url: str) -> AsyncIterator[TwoRoles]:
    server = await asyncpg.connect(plain_url(empty_database_url))
    names = [f"{kind}_{uuid4().hex}" for kind in ("owner", "serving")]
    for name in names:
        await server.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{name}'")
    database = urlsplit(empty_database_url).path.removeprefix("/")
    await server.execute(f'ALTER DATABASE "{database}" OWNER TO {names[0]}')
    yield TwoRoles(as_role(empty_database_url, names[0]), as_role(empty_database_url, names[1]), names[1])
    await server.execute(f'ALTER DATABASE "{database}" OWNER TO CURRENT_USER')
    for name in names:
        await server.execute(f"DROP OWNED BY {name}")
        await server.execute(f"DROP ROLE {name}")
    await server.close()


def as_role(url: str, name: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{name}:{name}@{parts.netloc.rpartition('@')[2]}"))


def revisions() -> list[str]:
    """The revisions, oldest first."""
    scripts = ScriptDirectory.from_config(migrations._config())
    return [script.revision for script in scripts.walk_revisions()][::-1]


async def upgrade_to(monkeypatch: pytest.MonkeyPatch, revision: str, url: str, role: str) -> None:
    run = command.upgrade
    with monkeypatch.context() as patched:
        patched.setattr(command, "upgrade", lambda config, _: run(config, revision))
        await upgrade(url, serving_role=role)


MISSING_RIGHTS = """
SELECT relname FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
    AND NOT (has_table_privilege($1, oid, 'SELECT') AND has_any_column_privilege($1, oid, 'INSERT'))
"""
RIGHTS_TO_CHANGE_THE_LOG = """
SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname ~ '^(audit_events|audit_arguments)'
    AND relkind IN ('r', 'p') AND has_any_column_privilege($1, oid, 'UPDATE')
"""


async def test_what_each_migration_makes_is_granted_in_its_own_transaction(
    two_roles: TwoRoles, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = await asyncpg.connect(two_roles.owner_url)
    run, seen = migrations._grant, list[str]()

    def lose_the_last(connection: Connection, role: str | None) -> None:
        """The process dies after the last migration's commit, before anything else is done."""
        revision = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
        if str(revision) in seen:
            raise ConnectionError("gone")
        seen.append(str(revision))
        run(connection, role)

    with monkeypatch.context() as patched:
        patched.setattr(migrations, "_grant", lose_the_last)
        with pytest.raises(DatabaseFault):
            await upgrade(two_roles.owner_url, serving_role=two_roles.serving)
    assert seen == revisions()
    assert await owner.fetch(MISSING_RIGHTS, two_roles.serving) == []
    assert await owner.fetch(RIGHTS_TO_CHANGE_THE_LOG, two_roles.serving) == []
    await check_compatible(two_roles.serving_url)
    await owner.close()


async def test_a_migration_whose_grants_fail_leaves_nothing(
    two_roles: TwoRoles, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = await asyncpg.connect(two_roles.owner_url)
    with pytest.raises(DatabaseFault, match="no_such_role"):
        await upgrade(two_roles.owner_url, serving_role="no_such_role")
    assert await owner.fetchval("SELECT to_regclass('audit_events')") is None
    # The last migrations only add tables or widen existing ones; all earlier ones stay applied.
    before, last = revisions()[-2:]
    await upgrade_to(monkeypatch, before, two_roles.owner_url, two_roles.serving)
    with pytest.raises(DatabaseFault, match="no_such_role"):
        await upgrade(two_roles.owner_url, serving_role="no_such_role")
    assert await owner.fetchval("SELECT version_num FROM alembic_version") == before
    await upgrade(two_roles.owner_url, serving_role=two_roles.serving)
    assert await owner.fetchval("SELECT version_num FROM alembic_version") == last
    await owner.close()


EVENT = "INSERT INTO audit_events (id, action, actor_type) VALUES (gen_random_uuid(), $1, 'system')"


async def test_a_schema_with_data_is_upgraded_by_two_roles_that_may_only_log_in(
    two_roles: TwoRoles, monkeypatch: pytest.MonkeyPatch
) -> None:
    await upgrade_to(monkeypatch, revisions()[-2], two_roles.owner_url, two_roles.serving)
    serving = await asyncpg.connect(two_roles.serving_url)
    await ensure_epoch(serving)
    await serving.execute(EVENT, "before")
    await upgrade(two_roles.owner_url, serving_role=two_roles.serving)
    await check_compatible(two_roles.serving_url)
    await serving.execute(EVENT, "after")
    kept = await serving.fetch("SELECT action FROM audit_events ORDER BY seq")
    assert [row["action"] for row in kept] == ["before", "after"]
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await serving.execute("UPDATE audit_events SET action = 'changed'")
    assert await serving.fetch(MISSING_RIGHTS, two_roles.serving) == []
    await serving.close()


OLD_VALUES = """
INSERT INTO servers (id, slug, name, transport) VALUES (gen_random_uuid(), 'notes', 'Notes', 'http'),
    (gen_random_uuid(), 'git', 'Git', 'stdio');
INSERT INTO token_pickups (id, token_id, recipient_id, expires_at, state)
    SELECT gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), now(), state
    FROM unnest(ARRAY['waiting', 'picked_up']) AS state;
INSERT INTO scheduled_offboardings (id, identity_id, effective_at, requested_by_kind, requested_by_id, status)
    SELECT gen_random_uuid(), gen_random_uuid(), now(), 'identity', gen_random_uuid(), status
    FROM unnest(ARRAY['pending', 'done']) AS status;
INSERT INTO webhook_deliveries (id, webhook_id, type, data, error)
    VALUES (gen_random_uuid(), gen_random_uuid(), 'webhook.test', '{}', 'unsealed');
INSERT INTO audit_sinks (id, name, url, format, epoch, xact, seq, error)
    VALUES (gen_random_uuid(), 'siem', 'https://siem.example', 'ndjson', 1, 0, 0, 'unsealed');
INSERT INTO signal_streams (id, provider_id, issuer, error)
    SELECT gen_random_uuid(), gen_random_uuid(), 'https://a.example', error
    FROM unnest(ARRAY['unsealed', 'keys']) AS error;
"""
NEW_VALUES = """
SELECT transport FROM servers UNION ALL SELECT state FROM token_pickups
UNION ALL SELECT status FROM scheduled_offboardings UNION ALL SELECT error FROM webhook_deliveries
UNION ALL SELECT error FROM audit_sinks UNION ALL SELECT error FROM signal_streams
"""


async def test_stored_values_get_the_words_of_the_contract(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        run = command.upgrade
        before.setattr(command, "upgrade", lambda config, _: run(config, "0037"))
        await upgrade(empty_database_url)
    connection = await asyncpg.connect(plain_url(empty_database_url))
    # The tokens and people of these rows do not matter, so no foreign keys are checked.
    await connection.execute("SET session_replication_role = replica")
    await connection.execute(OLD_VALUES)
    await upgrade(empty_database_url)
    assert sorted(row[0] for row in await connection.fetch(NEW_VALUES)) == [
        "completed", "decryption_failed", "decryption_failed", "decryption_failed", "keys_unavailable",
        "pending", "pending", "picked_up", "stdio", "streamable_http",
    ]  # fmt: skip
    defaults = (
        "INSERT INTO servers (id, slug, name) VALUES (gen_random_uuid(), 'wiki', 'Wiki') RETURNING transport"
    )
    assert await connection.fetchval(defaults) == "streamable_http"
    await connection.close()


WAITS_FOR_A_TABLE = (
    "SELECT FROM pg_locks WHERE NOT granted AND relation IS NOT NULL "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


@needs_lock_timeouts
async def test_nobody_waits_long_behind_a_migration_that_waits_for_a_table(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = command.upgrade
    with monkeypatch.context() as before:
        before.setattr(command, "upgrade", lambda config, _: run(config, "0007"))
        await upgrade(empty_database_url)
    monkeypatch.setattr(migrations, "_LOCK_TIMEOUT_S", 0.2)
    monkeypatch.setattr(migrations, "_PAUSE_S", 0.05)
    reader = await asyncpg.connect(plain_url(empty_database_url))
    caller = await asyncpg.connect(plain_url(empty_database_url))
    long = reader.transaction()
    await long.start()
    await reader.execute("SELECT FROM audit_events")
    migrating = asyncio.create_task(upgrade(empty_database_url))
    async with asyncio.timeout(60):
        while not await caller.fetch(WAITS_FOR_A_TABLE):
            pass
        await caller.execute(
            "INSERT INTO audit_events (id, action, actor_type) VALUES (gen_random_uuid(), 'x', 'y')"
        )
        assert not migrating.done()
        await long.rollback()
        await migrating
    await check_compatible(empty_database_url)
    with monkeypatch.context() as impatient:
        impatient.setattr(migrations, "_MAX_ATTEMPTS", 0)
        with pytest.raises(DatabaseFault, match="scopegate migrate"):
            await upgrade(empty_database_url)
    await reader.close()
    await caller.close()


async def test_a_database_without_the_schema_says_what_to_run(empty_database_url: str) -> None:
    with pytest.raises(DatabaseFault, match="scopegate migrate"):
        await check_compatible(empty_database_url)


async def test_a_database_that_no_longer_serves_this_code_is_refused(database_url: str) -> None:
    connection = await asyncpg.connect(plain_url(database_url))
    await connection.execute("UPDATE compatibility SET oldest_generation = $1", migrations.GENERATION + 1)
    await connection.close()
    with pytest.raises(DatabaseFault, match="no longer serves this code"):
        await check_compatible(database_url)


async def test_a_database_that_is_newer_than_the_code_is_not_migrated(database_url: str) -> None:
    connection = await asyncpg.connect(plain_url(database_url))
    await connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(DatabaseFault, match="newer"):
        await upgrade(database_url)
    # Replicas of the old version keep serving during a rollout.
    await check_compatible(database_url)
    assert await connection.fetchval("SELECT version_num FROM alembic_version") == "9999"
    await connection.close()


async def test_an_upgrade_says_what_it_migrated(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, last = revisions()[-2:]
    run = command.upgrade
    with monkeypatch.context() as patched:
        patched.setattr(command, "upgrade", lambda config, _: run(config, before))
        await upgrade(empty_database_url)
    assert (await upgrade(empty_database_url)).words() == f"Migrated the database from {before} to {last}."
    assert (await upgrade(empty_database_url)).words() is None


async def test_an_unreachable_database_is_one_line() -> None:
    with pytest.raises(DatabaseFault) as caught:
        await check_compatible("postgresql://nobody:secret@127.0.0.1:1/nothing")
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_the_newest_revision_is_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found = migrations.head()
    monkeypatch.setattr(migrations, "ScriptDirectory", None)
    assert migrations.head() == found
