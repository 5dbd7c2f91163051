"""The database of a command: the one that is configured, or the embedded one of the data directory."""

import asyncio
import contextlib
from collections.abc import Iterator

import asyncpg
import typer
from pydantic import SecretStr

from app.db.embedded_postgres import EmbeddedPostgres
from app.db.migrations import DatabaseAway, Upgraded, check_compatible, role_of, upgrade_sync
from app.settings import Settings, with_local_keys

_NAME = "scopegate"
_OWNER = "postgres"
# Serves, and owns nothing: the audit log is append-only for it here as in production.
_SERVING_ROLE = "scopegate"


@contextlib.contextmanager
def usable_database(settings: Settings, *, may_be_away: bool = False) -> Iterator[Settings]:
    """The settings with a ``database_url`` that serves this code, and every key.

    The embedded database is started if it does not run (and stopped again by whoever started it), and
    always migrated: it has no other users. A configured one is looked at and left as it is. Where that
    ``may_be_away``, a line says so and the settings are yielded all the same.

    Raises:
        DatabaseFault: it cannot be reached, or does not serve this code.
        EmbeddedPostgresError: the embedded one cannot be had.
    """
    if settings.database_url is not None:
        try:
            asyncio.run(check_compatible(settings.database_url.get_secret_value()))
        except DatabaseAway as fault:
            if not may_be_away:
                raise
            typer.echo(f"scopegate: {fault}; /readyz answers 503 until it is back", err=True)
        yield settings
        return
    with EmbeddedPostgres(settings.data_dir) as cluster:
        cluster.ensure_database(_NAME)
        owner = cluster.url(_NAME, _OWNER)
        asyncio.run(_make_serving_role(owner))
        _say_upgraded(upgrade_sync(owner, serving_role=_SERVING_ROLE))
        yield _pointed_at(cluster, settings).model_copy(update={"migration_database_url": SecretStr(owner)})


def joined_database(settings: Settings) -> Settings:
    """For a worker of ``serve``: the settings with the ``database_url`` that its parent has made usable."""
    if settings.database_url is not None:
        return settings
    cluster = EmbeddedPostgres(settings.data_dir)
    cluster.start()
    return _pointed_at(cluster, settings)


def migrate(settings: Settings) -> None:
    """Bring the database to this code's schema, as its owner where one is configured.

    Raises as ``usable_database`` does.
    """
    if settings.database_url is None:
        with usable_database(settings):
            return
    serving = settings.database_url.get_secret_value()
    owner = settings.migration_database_url
    url = owner.get_secret_value() if owner else serving
    _say_upgraded(upgrade_sync(url, serving_role=role_of(serving)))


def _say_upgraded(done: Upgraded) -> None:
    words = done.words()
    if words is not None:
        # Not among the output of a command, which may be for a program.
        typer.echo(words, err=True)


def _pointed_at(cluster: EmbeddedPostgres, settings: Settings) -> Settings:
    url = SecretStr(cluster.url(_NAME, _SERVING_ROLE))
    return with_local_keys(settings).model_copy(update={"database_url": url})


async def _make_serving_role(owner_url: str) -> None:
    connection = await asyncpg.connect(owner_url)
    try:
        known = await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", _SERVING_ROLE)
        if not known:
            await connection.execute(f'CREATE ROLE "{_SERVING_ROLE}" LOGIN')
    finally:
        await connection.close()
