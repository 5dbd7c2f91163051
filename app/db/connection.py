"""Connections to the PostgreSQL primary that detect commits which were not replicated.

A URL can name several hosts, as in libpq: ``postgresql://user@one:5432,two:5432/name``, or ``?host=/one,/two`` for
sockets. They are tried in turn, starting with the last one that worked. Standbys are skipped.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg
from asyncpg.connect_utils import SessionAttribute

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
else:
    Connection = asyncpg.Connection
_WARNING = "01000"
# The driver raises InternalClientError when the server died in the middle of an answer.
DRIVER_FAULTS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
"""What the driver raises when the database rejects a statement or does not answer. ``OSError`` includes time-outs."""


class PrimaryUnavailable(ConnectionError):
    """No primary accepts the connection. The text names the kind of fault, without anything that the server sent."""


class NotReplicated(ConnectionError):
    """A commit may exist only on the primary: its wait for the synchronous standby was cancelled."""


class GuardedConnection(Connection):
    """A connection that treats a commit with a warning like a commit without an answer.

    PostgreSQL answers a cancelled wait for a synchronous standby with success and a warning (``SyncRepWaitForLSN``).
    The text is localized, but no other warning of that class occurs at a commit.
    """

    warned = False
    """Whether the last statement warned."""

    def check_replicated(self) -> None:
        """Raise ``NotReplicated`` when the last statement warned."""
        if self.warned:
            self.warned = False
            raise NotReplicated("the wait for the synchronous standby was cancelled")

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:  # noqa: ASYNC109
        """Execute a statement. Raises ``NotReplicated`` when the server warned, as at a COMMIT."""
        status: str = await super().execute(query, *args, timeout=timeout)
        self.check_replicated()
        return status

    def hear(self, _connection: object, message: object) -> None:
        """Handle a notice of the server."""
        if getattr(message, "sqlstate", None) == _WARNING:
            self.warned = True


class Primary:
    """Connects to the primary of a database."""

    def __init__(self, url: str, check: Callable[[Connection], Awaitable[None]] | None = None) -> None:
        """``url`` is asyncpg's: ``postgresql://...``. Raises ``ValueError`` for malformed hosts.

        ``check`` validates each new connection and raises ``PrimaryUnavailable`` if it must not be used.
        """
        self._urls = split_hosts(url)
        self._check = check

    async def connect(
        self, within: float, settings: Mapping[str, str], *, command_timeout: float | None = None
    ) -> GuardedConnection:
        """Connect within this many seconds, divided equally among the hosts so that a silent one cannot use them up.

        Raises ``PrimaryUnavailable``.
        """
        share = within / len(self._urls)
        fault: Exception | None = None
        for url in list(self._urls):
            try:
                connection: GuardedConnection = await asyncpg.connect(
                    url,
                    timeout=share,
                    command_timeout=command_timeout,
                    server_settings=dict(settings),
                    target_session_attrs=SessionAttribute.primary,
                    connection_class=GuardedConnection,
                )
            except (*DRIVER_FAULTS, ValueError) as error:
                # The driver raises ValueError for a malformed URL.
                fault = error
            else:
                self._urls.remove(url)
                self._urls.insert(0, url)
                connection.add_log_listener(connection.hear)
                await self._verify(connection)
                return connection
        raise PrimaryUnavailable(f"no primary takes connections ({type(fault).__name__})") from fault

    async def _verify(self, connection: GuardedConnection) -> None:
        try:
            if self._check is not None:
                await self._check(connection)
        except BaseException as fault:
            connection.terminate()
            if isinstance(fault, PrimaryUnavailable) or not isinstance(fault, DRIVER_FAULTS):
                raise
            raise PrimaryUnavailable(f"the connection cannot be checked ({type(fault).__name__})") from fault


def split_hosts(url: str) -> list[str]:
    """Split a URL with several hosts into one URL per host. Raises ``ValueError`` when ports and hosts do not match."""
    parts = urlsplit(url)
    user, at, hosts = parts.netloc.rpartition("@")
    if "," in hosts:
        return [urlunsplit(parts._replace(netloc=f"{user}{at}{host}")) for host in hosts.split(",")]
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    named = query.get("host", "").split(",")
    if len(named) == 1:
        return [url]
    ports = query.pop("port", "").split(",")
    if len(ports) not in {1, len(named)}:
        raise ValueError("give one port for all hosts, or one for each")
    urls = []
    for host, port in zip(named, ports * (len(named) // len(ports)), strict=True):
        own = query | {"host": host} | ({"port": port} if port else {})
        urls.append(urlunsplit(parts._replace(query=urlencode(own, safe="/"))))
    return urls
