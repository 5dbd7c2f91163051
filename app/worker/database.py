"""How a worker reaches its database: by which address, and what the gateway keeps beside the API's own pool."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg

from app.db.connection import GuardedConnection, Primary
from app.db.engine import plain_url
from app.db.migrations import SchemaCheck
from app.db.rewinds import DatabaseRewound, RewindGuard
from app.features.audit.epochs import ensure_epoch
from app.settings import Settings

Connect: TypeAlias = Callable[[], Awaitable[GuardedConnection]]
# Reads for cold tokens and refreshes.
_SNAPSHOT_CONNECTIONS = 4
_OPENING_S = 1.4
_CONNECTION_SETTINGS = {
    "application_name": "scopegate-gateway",
    "timezone": "UTC",
    "synchronous_commit": "on",
    # Deadlines are the client's. This ends what a client that was killed has left behind.
    "statement_timeout": "10000",
    "idle_in_transaction_session_timeout": "10000",
    # Look-ups by key, whatever the statistics say of a small or a freshly grown table.
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}
# What was dropped at a deadline may still wait: for a lock, or in its commit for a standby, where no time-out of the
# server reaches it. Each would hold a connection, until there were none left.
_END_PREDECESSORS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE application_name = $1 AND usename = current_user AND pid <> pg_backend_pid()"
)


def database_url(settings: Settings) -> str:
    """The API's, which may lead to a pooler."""
    if settings.database_url is None:
        raise RuntimeError("the command line resolves the embedded database before the service starts")
    return settings.database_url.get_secret_value()


def direct_url(settings: Settings) -> str:
    """The gateway's, which needs sessions of the database itself."""
    direct = settings.database_direct_url
    return plain_url(database_url(settings) if direct is None else direct.get_secret_value())


class Connector:
    """Opens the connections of a worker that record, cut and listen."""

    def __init__(
        self, url: str, worker_id: UUID, check: SchemaCheck | None = None, rewinds: RewindGuard | None = None
    ) -> None:
        self._primary = Primary(url, check)
        self._worker = worker_id.hex[-12:]
        self._rewinds = RewindGuard() if rewinds is None else rewinds

    def named(self, name: str) -> Connect:
        """A function that opens the connections of this name, of which only one is open at a time."""

        async def connect() -> GuardedConnection:
            return await self._open(f"scopegate-{name}-{self._worker}")

        return connect

    async def _open(self, name: str) -> GuardedConnection:
        self._rewinds.pause()
        connection = await self._primary.connect(
            _OPENING_S, _CONNECTION_SETTINGS | {"application_name": name}
        )
        try:
            await connection.execute(_END_PREDECESSORS, name)
            # A promoted standby and a restored database need an epoch of their own before anything is recorded.
            await ensure_epoch(connection)
            await self._rewinds.check(connection)
        except BaseException:
            connection.terminate()
            raise
        return connection


async def reading_pool(
    url: str, stack: AsyncExitStack, check: SchemaCheck, rewinds: RewindGuard
) -> "asyncpg.Pool[asyncpg.Record]":
    """Connections to read the access snapshot on."""
    primary = Primary(url, check)

    async def connect(*_arguments: Any, **_options: Any) -> GuardedConnection:
        connection = await primary.connect(_OPENING_S, _CONNECTION_SETTINGS)
        try:
            # Nothing is read by it where the database went backwards.
            with suppress(DatabaseRewound):
                await rewinds.check(connection)
        except BaseException:
            connection.terminate()
            raise
        # It commits nothing, and a pool takes back no connection that somebody listens to.
        connection.remove_log_listener(connection.hear)
        return connection

    return await stack.enter_async_context(
        asyncpg.create_pool(
            connect=connect,
            connection_class=GuardedConnection,
            # With a minimum, a worker could not start before its database, and the driver would log each attempt.
            min_size=0,
            max_size=_SNAPSHOT_CONNECTIONS,
        )
    )
