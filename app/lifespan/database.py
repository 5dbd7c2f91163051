"""How a worker reaches its database: by which address, and what the gateway keeps beside the API's own pool."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TypeAlias

import asyncpg

from app.features.audit.epochs import ensure_epoch
from app.kit.database import plain_url
from app.settings import Settings

Connect: TypeAlias = Callable[[], Awaitable["asyncpg.Connection[asyncpg.Record]"]]
# Reads for cold tokens and refreshes.
_SNAPSHOT_CONNECTIONS = 4
_OPENING_S = 1.4
_CONNECTION_SETTINGS = {
    "application_name": "scopegate-gateway",
    "timezone": "UTC",
    "synchronous_commit": "on",
    "idle_in_transaction_session_timeout": "10000",
    # Look-ups by key, whatever the statistics say of a small or a freshly grown table.
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}


def database_url(settings: Settings) -> str:
    """The API's, which may lead to a pooler."""
    if settings.database_url is None:
        raise RuntimeError("the command line resolves the embedded database before the service starts")
    return settings.database_url.get_secret_value()


def direct_url(settings: Settings) -> str:
    """The gateway's, which needs sessions of the database itself."""
    direct = settings.database_direct_url
    return plain_url(database_url(settings) if direct is None else direct.get_secret_value())


def connector(url: str) -> Connect:
    """Opens connections to record on."""

    async def connect() -> "asyncpg.Connection[asyncpg.Record]":
        connection = await asyncpg.connect(url, timeout=_OPENING_S, server_settings=_CONNECTION_SETTINGS)
        try:
            # A promoted standby and a restored database need an epoch of their own before anything is recorded.
            await ensure_epoch(connection)
        except BaseException:
            connection.terminate()
            raise
        return connection

    return connect


async def reading_pool(url: str, stack: AsyncExitStack) -> "asyncpg.Pool[asyncpg.Record]":
    """Connections to read the access snapshot on."""
    return await stack.enter_async_context(
        asyncpg.create_pool(
            url,
            min_size=1,
            max_size=_SNAPSHOT_CONNECTIONS,
            timeout=_OPENING_S,
            server_settings=_CONNECTION_SETTINGS,
        )
    )
