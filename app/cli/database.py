"""The database of a command: the configured one, or the embedded one of the data directory.

``scopegate maintain`` is periodic work that needs the owner of the tables. ``scopegate bootstrap`` creates the
credential of the first service account directly in the database, since no one can sign in yet.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime
from typing import TypeVar

import asyncpg
import typer
from pydantic import SecretStr
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import col

from app.admission.consuming import forget_quotas
from app.admission.rows import forget_clients
from app.admission.shared_state import forget_ended_sessions
from app.admission.usage import forget_uses
from app.cli.errors import CannotStart
from app.crypto.keys import Peppers
from app.db import migrations
from app.db.call_arguments import forget_arguments
from app.db.change import Change
from app.db.connection import DRIVER_FAULTS
from app.db.embedded_postgres import EmbeddedPostgres
from app.db.engine import commit, make_engine, make_sessions, plain_connection
from app.db.partitions import MaintenanceResult, maintain_partitions
from app.domain.errors import Conflict
from app.features.administrators.break_glass import forget_sessions
from app.features.audit.sealing.drops import record_drop
from app.features.audit.stats import forget_hours
from app.features.audit_sinks.queue import record_missed
from app.features.service_accounts.service import bootstrap, create_credential
from app.http.authorization import Caller, Role
from app.http.idempotency import delete_expired_responses
from app.lib.ids import SERVICE_ACCOUNT, format_id
from app.models.identities import ServiceAccount
from app.settings import Settings, with_local_keys

Result = TypeVar("Result")
_NAME = "scopegate"
_OWNER = "postgres"
# The serving role owns nothing: the audit log is append-only for it, as in production.
_SERVING_ROLE = "scopegate"


@contextlib.contextmanager
def usable_database(settings: Settings, *, may_be_away: bool = False) -> Iterator[Settings]:
    """The settings with a ``database_url`` that serves this code, and every key.

    The embedded database is started unless it runs, and stopped by the process that started it. It is always
    migrated, since it has no other users. A configured database is only checked; if it is unavailable and
    ``may_be_away`` is set, a line says so and the settings are yielded.

    Raises:
        DatabaseFault: it cannot be reached, or has another schema.
        EmbeddedPostgresError: the embedded database cannot be started.
    """
    if settings.database_url is not None:
        try:
            asyncio.run(migrations.check_compatible(settings.database_url.get_secret_value()))
        except migrations.DatabaseUnreachable as fault:
            if not may_be_away:
                raise
            typer.echo(f"scopegate: {fault}; /readyz answers 503 until it is back", err=True)
        yield settings
        return
    with EmbeddedPostgres(settings.data_dir) as cluster:
        cluster.ensure_database(_NAME)
        owner = cluster.url(_NAME, _OWNER)
        asyncio.run(_make_serving_role(owner))
        _say_upgraded(migrations.upgrade_sync(owner, serving_role=_SERVING_ROLE))
        yield _point_at(cluster, settings).model_copy(update={"migration_database_url": SecretStr(owner)})


def joined_database(settings: Settings) -> Settings:
    """For a worker of ``serve``: the settings with the ``database_url`` that the parent prepared."""
    if settings.database_url is not None:
        return settings
    cluster = EmbeddedPostgres(settings.data_dir)
    cluster.start()
    return _point_at(cluster, settings)


def migrate(settings: Settings) -> list[str]:
    """Upgrade the database to the schema of this version, as its owner if one is configured.

    Raises as ``usable_database`` does.
    """
    if settings.database_url is None:
        with usable_database(settings):
            pass
    else:
        serving = settings.database_url.get_secret_value()
        owner = settings.migration_database_url
        url = owner.get_secret_value() if owner else serving
        _say_upgraded(migrations.upgrade_sync(url, serving_role=migrations.role_of(serving)))
    return ["The database is up to date."]


def _say_upgraded(done: migrations.UpgradeResult) -> None:
    words = done.words()
    if words is not None:
        # On the error output, since a program may read the output.
        typer.echo(words, err=True)


def _point_at(cluster: EmbeddedPostgres, settings: Settings) -> Settings:
    url = SecretStr(cluster.url(_NAME, _SERVING_ROLE))
    return with_local_keys(settings).model_copy(update={"database_url": url})


async def _make_serving_role(owner_url: str) -> None:
    async with plain_connection(owner_url) as connection:
        known = await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", _SERVING_ROLE)
        if not known:
            await connection.execute(f'CREATE ROLE "{_SERVING_ROLE}" LOGIN')


def at_database(
    settings: Settings,
    work: Callable[[async_sessionmaker[AsyncSession]], Awaitable[Result]],
    url: SecretStr | None = None,
) -> Result:
    """Run the work of a command with sessions of the database, or of the one at ``url``."""

    async def run() -> Result:
        chosen = url or settings.database_url
        if chosen is None:
            raise ValueError("the settings must come from usable_database")
        engine = make_engine(chosen.get_secret_value(), pool_size=1, name="scopegate-command")
        try:
            return await work(make_sessions(engine))
        finally:
            await engine.dispose()

    return asyncio.run(run())


def maintain(settings: Settings) -> list[str]:
    """Create the coming months of the audit log, and drop those past ``SCOPEGATE_AUDIT_RETENTION`` with the counts,
    break-glass sessions and clients of that time. Delete the arguments of calls past
    ``SCOPEGATE_ARGUMENTS_RETENTION``, quotas of past days, uses of grants that no report needs, old responses for
    idempotency keys and sessions of tokens that ended long ago.

    Raises:
        CannotStart: the role is not permitted to do it.
        DatabaseFault: the database cannot be reached.
    """
    url = settings.migration_database_url or settings.database_url
    if url is None:
        raise ValueError("the settings must come from usable_database")
    try:
        done = asyncio.run(_maintain(url.get_secret_value(), settings))
    except asyncpg.InsufficientPrivilegeError as error:
        raise CannotStart(f"{error}: set SCOPEGATE_MIGRATION_DATABASE_URL to the owner's address") from None
    except DRIVER_FAULTS as error:
        raise migrations.database_fault(error, "maintained") from None
    return [
        *(f"made     {name}" for name in done.made),
        *(f"dropped  {name}" for name in done.dropped),
        *(f"kept     {name}: {reason}" for name, reason in done.kept),
        "The audit log is in order.",
    ]


async def _record_drop(connection: "asyncpg.Connection[asyncpg.Record]", partition: str) -> str | None:
    """Record a drop, also for the audit sinks, which may not have received everything."""
    reason = await record_drop(connection, partition)
    if reason is None:
        await record_missed(connection, partition)
    return reason


async def _maintain(owner_url: str, settings: Settings) -> MaintenanceResult:
    keep = settings.audit_retention
    async with plain_connection(owner_url) as connection:
        now: datetime = await connection.fetchval("SELECT now()")
    done = await maintain_partitions(owner_url, keep=keep, now=now, record_drop=_record_drop)
    await delete_expired_responses(owner_url)
    await forget_arguments(owner_url, keep=settings.arguments_retention, now=now)
    await forget_quotas(owner_url, now=now)
    await forget_ended_sessions(owner_url)
    await forget_uses(owner_url, now=now)
    await forget_sessions(owner_url, keep=keep, now=now)
    await forget_hours(owner_url, keep=keep, now=now)
    await forget_clients(owner_url, keep=keep, now=now)
    return done


Credential = tuple[str, str]
"""Client id and client secret."""


def bootstrap_credential(settings: Settings) -> Iterator[str]:
    """Create the first identity and its service account (role owner); yield the lines that show its credential.

    Raises:
        Conflict: there has been a service account already.
    """
    client_id, client_secret = _make(settings, _bootstrap)
    yield f"client_id      {client_id}"
    yield f"client_secret  {client_secret}"
    typer.echo("This is the only time that the secret is shown.", err=True)


def first_credential(settings: Settings) -> Credential:
    """For ``dev``: bootstrap, or add a secret to an owner if the first one is lost."""
    return _make(settings, _bootstrap_or_add)


async def _bootstrap(session: AsyncSession, peppers: Peppers) -> Credential:
    credential = await bootstrap(session, peppers)
    return credential.client_id, credential.client_secret


async def _bootstrap_or_add(session: AsyncSession, peppers: Peppers) -> Credential:
    try:
        return await _bootstrap(session, peppers)
    except Conflict:
        query = select(ServiceAccount).where(
            col(ServiceAccount.role) == Role.OWNER.value,
            col(ServiceAccount.status) == "active",
            col(ServiceAccount.ended_at).is_(None),
        )
        account = (
            await session.execute(query.order_by(col(ServiceAccount.id)).limit(1))
        ).scalar_one_or_none()
        if account is None:
            raise
        caller = Caller("service_account", account.id, frozenset({Role.OWNER}))
        change = await Change.begin(session, caller)
        credential = await create_credential(change, peppers, account.id)
        return format_id(SERVICE_ACCOUNT, account.id), credential.secret


def _make(settings: Settings, make: Callable[[AsyncSession, Peppers], Awaitable[Credential]]) -> Credential:
    async def run(sessions: async_sessionmaker[AsyncSession]) -> Credential:
        async with sessions() as session:
            credential = await make(session, Peppers(settings.keys("token_pepper")))
            await commit(session)
            return credential

    return at_database(settings, run)
