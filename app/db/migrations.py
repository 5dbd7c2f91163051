"""Bringing the database to this code's schema, and refusing a database that does not serve this code.

Migrations only go forward, one process at a time (advisory lock). The database records the oldest generation of
the code that it still serves, so that newer and older replicas run side by side and a too old one stops.
"""

import asyncio
import ssl
from collections.abc import Mapping
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
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from alembic import command
from app.db.connection import DRIVER_FAULTS, Primary, PrimaryUnavailable
from app.db.engine import UNAVAILABLE_CLASSES, plain_url, sqlstate

# Moves by one when older code could no longer work correctly on a newer schema.
GENERATION = 3
_LOCK = 0x5C09E6A7E
# Whoever waits for a table keeps all who come later waiting, calls too: so a migration waits shortly, and often.
_WAITS_FOR_TABLES_S = 1.0
_TRIES = 60
_PAUSE_S = 1.0
_IN_THE_WAY = {"55P03", "40P01"}
# mutation: append_only_tables
_APPEND_ONLY = (
    "accepted_restores", "audit_arguments", "audit_checkpoints", "audit_clients", "audit_events", "audit_tiles",
    "log_epochs", "log_names",
)  # fmt: skip

# Others may have tables in this schema too, an extension for one: these are not ours to grant.
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
    """The database cannot be used by this code; one line that says why and what to do."""


class DatabaseAway(DatabaseFault):
    """The database does not answer or does not serve now, which may end without anyone's doing."""


@dataclass(frozen=True, slots=True)
class Upgraded:
    """The revisions of the schema before (``None``: there was none) and after ``upgrade``."""

    before: str | None
    after: str

    def words(self) -> str | None:
        """What was done, or ``None`` where nothing was."""
        if self.before == self.after:
            return None
        return f"Migrated the database from {self.before or 'empty'} to {self.after}."


def _scripts() -> Path:
    package = Path(__file__).resolve().parents[1]
    beside = package.parent / "alembic"
    return beside if (beside / "env.py").exists() else package / "_alembic"


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_scripts()).replace("%", "%%"))
    return config


@cache
def head() -> str:
    """The newest revision that this code brings; looked for once, since it reads files and anybody may ask /readyz."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    if revision is None:
        raise DatabaseFault("This installation brings no migrations.")
    return revision


def _engine(url: str, within: float, settings: Mapping[str, str]) -> AsyncEngine:
    primary = Primary(plain_url(url))
    return create_async_engine(
        "postgresql+asyncpg://",
        poolclass=NullPool,
        async_creator=lambda: primary.connect(within, settings),
    )


async def upgrade(url: str, *, serving_role: str | None = None) -> Upgraded:
    """Run all migrations as the owner, and grant the serving role just what it needs.

    Raises ``DatabaseFault`` when the database cannot be reached, is newer than this code, or its tables are not to be
    had.
    """
    engine = _engine(url, 10, {"lock_timeout": f"{_WAITS_FOR_TABLES_S * 1000:.0f}"})
    try:
        async with engine.connect() as connection:
            await _take_turn(connection)
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


async def _take_turn(connection: AsyncConnection) -> None:
    # A statement that waits would have a snapshot, which the building of an index waits for in turn.
    while not await connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": _LOCK}):
        await connection.commit()
        await asyncio.sleep(0.1)
    await connection.commit()


async def _run_all(connection: AsyncConnection, serving_role: str | None) -> Upgraded:
    """Each migration is a transaction of its own: what is done stays done when a later one has to be repeated."""
    for _ in range(_TRIES):
        try:
            before = await connection.run_sync(_run, serving_role)
            await connection.commit()
            return Upgraded(before, head())
        except DBAPIError as error:
            if sqlstate(error) not in _IN_THE_WAY:
                raise
            await connection.rollback()
            await asyncio.sleep(_PAUSE_S)
    raise DatabaseFault(
        "Long transactions hold the tables that are to be changed; end these, then run: scopegate migrate"
    )


def _run(connection: Connection, serving_role: str | None) -> str | None:
    """Run the migrations that are missing; the tables of each and the grants on them commit together.

    The value is the revision from before.
    """
    before = MigrationContext.configure(connection).get_current_revision()
    check_not_newer(before)
    # Alembic must not find a transaction that it did not begin: each migration is one.
    connection.commit()
    config = _config()
    config.attributes["connection"] = connection
    config.attributes["before_commit"] = lambda **_: _grant(connection, serving_role)
    command.upgrade(config, "head")
    # For a serving role that is new to a schema that is not.
    _grant(connection, serving_role)
    return before


def check_not_newer(revision: str | None) -> None:
    """Raise ``DatabaseFault`` where a schema was made by a newer version, which this one cannot migrate."""
    if revision is not None and revision > head():
        raise DatabaseFault(
            f"The database is at {revision}, which is newer than this version's {head()}; run the newer Scopegate."
        )


def _grant(connection: Connection, role: str | None) -> None:
    """Grant the serving role what it needs of the tables there are: it only appends to the audit log.

    The owner of the tables may do all of this without CREATEROLE, ADMIN or any other attribute.
    """
    if role is None or role == connection.scalar(text("SELECT current_user")):
        return
    tables = {row.relname: row.quoted for row in connection.execute(_TABLES)}
    if "audit_events" not in tables:
        raise DatabaseFault(
            "The tables belong to another role: set SCOPEGATE_MIGRATION_DATABASE_URL to its address"
        )
    to, logs = '"' + role.replace('"', '""') + '"', [tables[name] for name in _APPEND_ONLY if name in tables]
    # Where an event stands in the order of commits is for the database to say.
    columns = ", ".join(connection.scalars(_WRITTEN))
    for statement in (
        f"GRANT USAGE ON SCHEMA public TO {to}",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON {', '.join(tables.values())} TO {to}",
        f"GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO {to}",
        f"REVOKE UPDATE, DELETE ON {', '.join(logs)} FROM {to}",
        f"REVOKE INSERT ON audit_events FROM {to}",
        f"GRANT INSERT ({columns}) ON audit_events TO {to}",
        # Rows go through the parent, whose rights count then; nothing needs the partition itself.
        *(f"REVOKE ALL ON {partition} FROM {to}" for partition in connection.scalars(_PARTITIONS).all()),
    ):
        # mutation: right_granted
        connection.exec_driver_sql(statement)


async def check_compatible(url: str) -> None:
    """Raise ``DatabaseFault`` unless the database is there, migrated far enough, and still serves this code.

    ``DatabaseAway``, where it is not there.
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
    """Raise ``DatabaseFault`` unless the schema is migrated far enough, and still serves this code."""
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
    """For the connections of a worker, which may start before its database: nothing is served on a wrong schema."""

    def __init__(self) -> None:
        self._passed = False

    async def __call__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        """Check the schema until it has passed once. Raises ``PrimaryUnavailable`` where it does not."""
        if self._passed:
            return
        try:
            await check_schema(connection)
        except DatabaseFault as fault:
            raise PrimaryUnavailable(str(fault)) from None
        self._passed = True


def database_fault(error: BaseException, what: str = "used") -> DatabaseFault:
    """The one line to say of anything that the driver or SQLAlchemy raises; ``what`` the database cannot be."""
    root: BaseException = error
    while (cause := getattr(root, "orig", None) or root.__cause__) is not None:
        root = cause
    code = sqlstate(error)
    words = (" ".join(str(root).split()) or type(root).__name__)[:200]
    if code is None and not isinstance(root, ValueError | PermissionError | ssl.SSLCertVerificationError):
        return DatabaseAway(f"The database cannot be reached: {words}")
    if code is not None and code.startswith(UNAVAILABLE_CLASSES):
        return DatabaseAway(f"The database does not serve now: {words}")
    return DatabaseFault(f"The database cannot be {what}: {words}")


def role_of(url: str) -> str | None:
    """The role that a database URL signs in as."""
    name = urlsplit(plain_url(url)).username
    return None if name is None else unquote(name)


def upgrade_sync(url: str, *, serving_role: str | None = None) -> Upgraded:
    """``upgrade`` for callers without a running loop."""
    return asyncio.run(upgrade(url, serving_role=serving_role))
