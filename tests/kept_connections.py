"""Connections of the service that the tests of one process use one after the other, together with its database.

For each new connection, PostgreSQL starts a process, which reads the catalog again for every table that it meets. That
costs more than most tests do. So when the service closes a connection to a database that tests reuse
(``tests/database.py``), the session is reset with ``DISCARD ALL``, and the next connection with the same settings
takes it over. Connections that are terminated, and those that a test opens itself, are not kept.

A connection belongs to an event loop. Each test gets the same loop, and its tasks still end with the test.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg

_Key = tuple[Any, ...]
# The name of a connection may end with that of the worker.
_WORKER = re.compile(r"-[0-9a-f]{12}$")
_LOST = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)
_RESET_S = 60.0

_idle: dict[_Key, list[Any]] = {}
_reused_databases: set[str] = set()


class _Loop(asyncio.SelectorEventLoop):
    """Stays open when the test that used it ends."""

    def close(self) -> None:
        self._asyncgens_shutdown_called = False
        self._executor_shutdown_called = False
        self._default_executor = None


_loop = _Loop()


def event_loop() -> asyncio.AbstractEventLoop:
    """The event loop of all tests of this process."""
    return _loop


def keep(url: str) -> None:
    """Keep connections to this database."""
    _reused_databases.add(url)


def drop(url: str) -> None:
    """Close the connections that are kept to this database."""
    _reused_databases.discard(url)
    for key in [key for key in _idle if key[0] == url]:
        for connection in _idle.pop(key):
            connection.terminate()


def idle_backends(url: str) -> list[int]:
    """The server processes of the connections that are kept to this database."""
    return [one.get_server_pid() for key, kept in _idle.items() if key[0] == url for one in kept]


def install() -> None:
    """Make ``asyncpg`` keep connections in this process."""
    driver: Any = asyncpg
    driver.connect = _keeping(driver.connect)
    driver.Connection.close = _resetting(driver.Connection.close)


def _keeping(connect: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def connect_or_reuse(dsn: Any = None, **options: Any) -> Any:
        kind = options.get("connection_class", asyncpg.Connection)
        name = (options.get("server_settings") or {}).get("application_name")
        if not _may_keep(dsn) or kind is asyncpg.Connection or name is None:
            return await connect(dsn, **options)
        settings = options.pop("server_settings") | {"application_name": _WORKER.sub("", name)}
        key = (dsn, kind, tuple(settings.items()), options.get("command_timeout"))
        connection = await _taken(key, name)
        if connection is None:
            connection = await connect(dsn, server_settings=settings, **options)
            await _rename(connection, name)
        connection.key_to_keep = key
        return connection

    return connect_or_reuse


def _resetting(close: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    async def reset_or_close(self: Any, *, timeout: float | None = None) -> None:  # noqa: ASYNC109
        key = getattr(self, "key_to_keep", None)
        if key is None or self.is_closed() or not _may_keep(key[0]):
            await close(self, timeout=timeout)
            return
        try:
            async with asyncio.timeout(_RESET_S):
                if self.is_in_transaction():
                    await self.execute("ROLLBACK")
                await self.execute("DISCARD ALL")
        except _LOST:
            await close(self, timeout=timeout)
            return
        _idle.setdefault(key, []).append(_successor(self))

    return reset_or_close


def _may_keep(url: object) -> bool:
    return url in _reused_databases and asyncio.get_running_loop() is _loop


async def _taken(key: _Key, name: str) -> Any:
    """An idle connection that still works, or ``None``."""
    while _idle.get(key):
        connection = _idle[key].pop()
        try:
            await _rename(connection, name)
        except _LOST:
            continue
        return connection
    return None


async def _rename(connection: Any, name: str) -> None:
    try:
        await connection.execute(f"SET application_name = '{name}'")
    except BaseException:
        connection.terminate()
        raise


def _successor(connection: Any) -> Any:
    """A new connection object on the same session; the old one is closed for whoever still holds it."""
    protocol = connection._protocol
    successor = type(connection)(
        protocol,
        connection._transport,
        connection._loop,
        connection._addr,
        connection._config,
        connection._params,
    )
    connection._aborted = True
    connection._protocol = None
    connection._cleanup()
    protocol.set_connection(successor)
    return successor
