"""Database connections of a worker: their addresses, and those of the gateway outside the API's pool."""

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
    # The client enforces deadlines. This limit ends sessions of a killed client.
    "statement_timeout": "10000",
    "idle_in_transaction_session_timeout": "10000",
    # Look-ups by key, regardless of the statistics of a small or fast growing table.
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}
# Statements that were abandoned at a deadline may still wait for a lock, or in their commit for a standby, where no
# time-out of the server applies. Each would hold a connection until none is left.
_END_PREDECESSORS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE application_name = $1 AND usename = current_user AND pid <> pg_backend_pid()"
)


def database_url(settings: Settings) -> str:
    """The API's address, which may lead to a pooler."""
    if settings.database_url is None:
        raise RuntimeError("the command line resolves the embedded database before the service starts")
    return settings.database_url.get_secret_value()


def direct_url(settings: Settings) -> str:
    """The gateway's address, which needs sessions of the database itself."""
    direct = settings.database_direct_url
    return plain_url(database_url(settings) if direct is None else direct.get_secret_value())


class Connector:
    """Opens the connections that record, cut and listen."""

    def __init__(
        self, url: str, worker_id: UUID, check: SchemaCheck | None = None, rewinds: RewindGuard | None = None
    ) -> None:
        self._primary = Primary(url, check)
        self._worker = worker_id.hex[-12:]
        self._rewinds = RewindGuard() if rewinds is None else rewinds

    def named(self, name: str) -> Connect:
        """Return a function that opens the connection of a writer, which has one at a time."""

        application = f"scopegate-{name}-{self._worker}"

        async def connect() -> GuardedConnection:
            self._rewinds.pause()
            settings = _CONNECTION_SETTINGS | {"application_name": application}
            connection = await self._primary.connect(_OPENING_S, settings)
            try:
                await connection.execute(_END_PREDECESSORS, application)
                # A promoted standby or a restored database needs a new epoch before anything is recorded.
                await ensure_epoch(connection)
                await self._rewinds.check(connection)
            except BaseException:
                connection.terminate()
                raise
            return connection

        return connect


async def reading_pool(
    url: str, stack: AsyncExitStack, check: SchemaCheck, rewinds: RewindGuard
) -> "asyncpg.Pool[asyncpg.Record]":
    """Open the pool that reads the access snapshot."""
    primary = Primary(url, check)

    async def connect(*_arguments: Any, **_options: Any) -> GuardedConnection:
        connection = await primary.connect(_OPENING_S, _CONNECTION_SETTINGS)
        try:
            # Nothing may be read after the database went backwards.
            with suppress(DatabaseRewound):
                await rewinds.check(connection)
        except BaseException:
            connection.terminate()
            raise
        # It commits nothing, and a pool does not accept connections with listeners.
        connection.remove_log_listener(connection.hear)
        return connection

    # With a minimum, a worker could not start before its database, and the driver would log each attempt.
    pool = asyncpg.create_pool(
        connect=connect, connection_class=GuardedConnection, min_size=0, max_size=_SNAPSHOT_CONNECTIONS
    )
    return await stack.enter_async_context(pool)
