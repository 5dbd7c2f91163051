"""Schema migrations, and the check that a database is compatible with this code.

Migrations only go forward, one process at a time (advisory lock). The database records the oldest generation of the
code that it supports, so that replicas of different versions run together and one that is too old stops.
"""

import asyncio
import ssl
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import asyncpg
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from alembic import command
from app.db.connection import DRIVER_FAULTS, Primary, PrimaryUnavailable
from app.db.engine import UNAVAILABLE_CLASSES, plain_url, sqlstate

# Increment this when older code no longer works correctly on a newer schema.
GENERATION = 3
_LOCK = 0x5C09E6A7E
# A lock request queues everything behind it, including calls, so a migration waits briefly and retries.
_LOCK_TIMEOUT_S = 1.0
_MAX_ATTEMPTS = 60
_PAUSE_S = 1.0
_LOCK_CONFLICTS = {"55P03", "40P01"}
# mutation: append_only_tables
_APPEND_ONLY = (
    "accepted_restores", "audit_arguments", "audit_checkpoints", "audit_clients", "audit_events", "audit_tiles",
    "log_epochs", "log_names",
)  # fmt: skip

# The schema can contain tables of other owners, such as extensions, which we cannot grant.
_TABLES = text(
    "SELECT relname, quote_ident(relname) AS quoted FROM pg_class"
    " WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition"
    " AND pg_has_role(relowner, 'USAGE') ORDER BY relname"
)

_PARTITIONS = text(
    "SELECT inhrelid::regclass::text FROM pg_inherits"
    " WHERE inhparent IN ('audit_events'::regclass, 'audit_arguments'::regclass)"
)

_WRITTEN = text(
    "SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = 'audit_events'::regclass"
    " AND attnum > 0 AND NOT attisdropped AND attname NOT IN ('xact', 'seq') ORDER BY attnum"
)

_IS_MIGRATED = (
    "SELECT to_regclass('public.compatibility') IS NOT NULL"
    " AND to_regclass('public.alembic_version') IS NOT NULL"
)
_VERSIONS = (
    "SELECT (SELECT oldest_generation FROM compatibility), (SELECT version_num::text FROM alembic_version)"
)


class DatabaseFault(Exception):
    """This code cannot use the database. The message is one line that says why and what to do."""


class DatabaseUnreachable(DatabaseFault):
    """The database is temporarily unavailable."""


@dataclass(frozen=True, slots=True)
class UpgradeResult:
    """The schema revisions before (``None`` for an empty database) and after ``upgrade``."""

    before: str | None
    after: str

    def words(self) -> str | None:
        """A sentence that says what was done; ``None`` if nothing was."""
        if self.before == self.after:
            return None
        return f"Migrated the database from {self.before or 'empty'} to {self.after}."


def _config() -> Config:
    package = Path(__file__).resolve().parents[1]
    in_checkout = package.parent / "alembic"
    scripts = in_checkout if (in_checkout / "env.py").exists() else package / "_alembic"
    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    return config


@cache
def head() -> str:
    """The newest revision in this code. Cached, because it reads files and ``/readyz`` needs no authentication."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    if revision is None:
        raise DatabaseFault("This installation brings no migrations.")
    return revision


async def upgrade(url: str, *, serving_role: str | None = None) -> UpgradeResult:
    """Run all migrations as the owner, and grant the serving role the rights that it needs.

    Raises ``DatabaseFault`` when the database cannot be reached, is newer than this code, or its tables stay locked.
    """
    primary, limits = Primary(plain_url(url)), {"lock_timeout": f"{_LOCK_TIMEOUT_S * 1000:.0f}"}
    engine = create_async_engine(
        "postgresql+asyncpg://", poolclass=NullPool, async_creator=lambda: primary.connect(10, limits)
    )
    try:
        async with engine.connect() as connection:
            # A waiting statement would hold a snapshot, which CREATE INDEX CONCURRENTLY would wait for.
            while not await connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": _LOCK}):
                await connection.commit()
                await asyncio.sleep(0.1)
            await connection.commit()
            try:
                return await _run_all(connection, serving_role)
            finally:
                await connection.rollback()
                await connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _LOCK})
                await connection.commit()
    except (*DRIVER_FAULTS, SQLAlchemyError) as error:
        raise database_fault(error, "migrated") from error
    finally:
        await engine.dispose()


async def _run_all(connection: AsyncConnection, serving_role: str | None) -> UpgradeResult:
    """Run each migration in its own transaction, so that a retry repeats only those that failed."""
    for _ in range(_MAX_ATTEMPTS):
        try:
            before = await connection.run_sync(_run, serving_role)
            await connection.commit()
            return UpgradeResult(before, head())
        except DBAPIError as error:
            if sqlstate(error) not in _LOCK_CONFLICTS:
                raise
            await connection.rollback()
            await asyncio.sleep(_PAUSE_S)
    raise DatabaseFault(
        "Long transactions lock the tables to be migrated; end them, then run: scopegate migrate"
    )


def _run(connection: Connection, serving_role: str | None) -> str | None:
    """Run the missing migrations. Each commits together with the grants on its tables. Returns the old revision."""
    before = MigrationContext.configure(connection).get_current_revision()
    check_not_newer(before)
    # Alembic must begin each migration's transaction itself.
    connection.commit()
    config = _config()
    config.attributes["connection"] = connection
    config.attributes["before_commit"] = lambda **_: _grant(connection, serving_role)
    command.upgrade(config, "head")
    # For a new serving role on an existing schema.
    _grant(connection, serving_role)
    return before


def check_not_newer(revision: str | None) -> None:
    """Raise ``DatabaseFault`` if the schema is newer than this code."""
    if revision is not None and revision > head():
        raise DatabaseFault(
            f"The database is at {revision}, which is newer than this version's {head()}; run the newer Scopegate."
        )


def _grant(connection: Connection, role: str | None) -> None:
    """Grant the serving role its rights on the existing tables; it can only append to the audit log.

    The owner of the tables needs no CREATEROLE, ADMIN or other attribute for this.
    """
    if role is None or role == connection.scalar(text("SELECT current_user")):
        return
    tables = {row.relname: row.quoted for row in connection.execute(_TABLES)}
    if "audit_events" not in tables:
        raise DatabaseFault(
            "The tables belong to another role: set SCOPEGATE_MIGRATION_DATABASE_URL to its address"
        )
    to, logs = '"' + role.replace('"', '""') + '"', [tables[name] for name in _APPEND_ONLY if name in tables]
    # The database alone assigns the position of an event in the order of commits.
    columns = ", ".join(connection.scalars(_WRITTEN))
    for statement in (
        f"GRANT USAGE ON SCHEMA public TO {to}",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON {', '.join(tables.values())} TO {to}",
        f"GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO {to}",
        f"REVOKE UPDATE, DELETE ON {', '.join(logs)} FROM {to}",
        f"REVOKE INSERT ON audit_events FROM {to}",
        f"GRANT INSERT ({columns}) ON audit_events TO {to}",
        # Rows go through the parent table, so only its rights matter.
        *(f"REVOKE ALL ON {partition} FROM {to}" for partition in connection.scalars(_PARTITIONS).all()),
    ):
        # mutation: right_granted
        connection.exec_driver_sql(statement)


async def check_compatible(url: str) -> None:
    """Raise ``DatabaseFault`` unless the database is migrated far enough and supports this code.

    Raises ``DatabaseUnreachable`` when it cannot be reached.
    """
    try:
        connection = await Primary(plain_url(url)).connect(5, {}, command_timeout=5)
        try:
            await check_schema(connection)
        finally:
            await connection.close()
    except DRIVER_FAULTS as error:
        raise database_fault(error) from error


async def check_schema(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Raise ``DatabaseFault`` unless the schema is migrated far enough and supports this code."""
    if not await connection.fetchval(_IS_MIGRATED):
        raise DatabaseFault("The database has no Scopegate schema yet; run: scopegate migrate")
    oldest, current = await connection.fetchrow(_VERSIONS) or (None, None)
    if oldest is None or oldest > GENERATION:
        raise DatabaseFault(
            f"The database no longer serves this code (generation {GENERATION}, it needs {oldest} or newer);"
            " run a newer Scopegate."
        )
    if current is None or current < head():
        raise DatabaseFault(f"The database is at {current}, this code needs {head()}; run: scopegate migrate")


class SchemaCheck:
    """Checks new connections of a worker, which can start before its database, so that it never uses a wrong schema."""

    def __init__(self) -> None:
        self._passed = False

    async def __call__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        """Check the schema until it passes once. Raises ``PrimaryUnavailable`` when it does not pass."""
        if self._passed:
            return
        try:
            await check_schema(connection)
        except DatabaseFault as fault:
            raise PrimaryUnavailable(str(fault)) from None
        self._passed = True


def database_fault(error: BaseException, what: str = "used") -> DatabaseFault:
    """Convert an error of the driver or SQLAlchemy to a one-line fault: the database cannot be ``what``."""
    root: BaseException = error
    while (cause := getattr(root, "orig", None) or root.__cause__) is not None:
        root = cause
    code = sqlstate(error)
    words = (" ".join(str(root).split()) or type(root).__name__)[:200]
    if code is None and not isinstance(root, ValueError | PermissionError | ssl.SSLCertVerificationError):
        return DatabaseUnreachable(f"The database cannot be reached: {words}")
    if code is not None and code.startswith(UNAVAILABLE_CLASSES):
        return DatabaseUnreachable(f"The database does not serve now: {words}")
    return DatabaseFault(f"The database cannot be {what}: {words}")


def role_of(url: str) -> str | None:
    """The role that a database URL signs in as."""
    name = urlsplit(plain_url(url)).username
    return None if name is None else unquote(name)


def upgrade_sync(url: str, *, serving_role: str | None = None) -> UpgradeResult:
    """``upgrade`` for callers without a running loop."""
    return asyncio.run(upgrade(url, serving_role=serving_role))
