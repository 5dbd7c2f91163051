"""The gateway's own connections to upstreams for ``/mcp``, kept per worker, client session and server."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from time import monotonic
from uuid import UUID

from app.admission.store import UpstreamTarget
from app.gateway.catalogue import handshake_versions
from app.outbound.http import OutboundClient, Timeouts
from app.outbound.mcp import LegacySession, McpUpstreamError, ModernConnection, open_connection

Connection = LegacySession | ModernConnection
Key = tuple[UUID, UUID]
"""The client's session (modern: its token), and the server."""

IDLE_SECONDS = 600.0
MAX_KEPT = 4096
_SWEEP_SECONDS = 30.0


@dataclass(slots=True)
class _Kept:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    connection: Connection | None = None
    target: UpstreamTarget | None = None
    log_level: str | None = None
    used_at: float = 0.0
    users: int = 0


class UpstreamSessions:
    """One connection for each key, opened by the call that first needs it, closed when unused."""

    def __init__(self, outbound: OutboundClient, times: Timeouts) -> None:
        self._outbound = outbound
        self.loops = outbound.loops
        self._times = times
        self._kept: OrderedDict[Key, _Kept] = OrderedDict()
        self._closing: set[asyncio.Task[None]] = set()
        self._swept_at = monotonic()

    @asynccontextmanager
    async def use(
        self,
        key: Key,
        target: UpstreamTarget,
        *,
        modern: bool,
        before_send: Callable[[], bool],
        before_next: Callable[[], bool],
        caller: int | None = None,
        log_level: str | None = None,
    ) -> AsyncIterator[Connection]:
        """The kept connection to this target, or a new one in the caller's era where the upstream has it.

        ``before_send`` is asked before what is sent first, ``before_next`` before what opening a session sends after
        it. A session in which the server logs has this level. It is not closed for want of room while it is used, and
        forgotten when the upstream says that it is gone. Raises ``McpUpstreamError``, ``NotForwarded`` and
        ``ForbiddenUrl``.
        """
        self._sweep(monotonic())
        kept = self._kept.get(key)
        if kept is None:
            kept = self._kept[key] = _Kept()
        self._kept.move_to_end(key)
        kept.users += 1
        try:
            connection = await self._connected(kept, target, modern, before_send, before_next, caller)
            try:
                if log_level is not None and kept.log_level != log_level:
                    await _set_log_level(kept, connection, log_level, before_send)
                yield connection
            except McpUpstreamError as error:
                if error.kind == "session_lost" and kept.connection is connection:
                    kept.connection = None
                raise
        finally:
            kept.users -= 1
            kept.used_at = monotonic()

    async def _connected(
        self,
        kept: _Kept,
        target: UpstreamTarget,
        modern: bool,
        before_send: Callable[[], bool],
        before_next: Callable[[], bool],
        caller: int | None,
    ) -> Connection:
        async with kept.lock:
            if kept.connection is not None and kept.target is not None:
                if kept.target == target:
                    return kept.connection
                if target.client is not None and replace(kept.target, headers=target.headers) == target:
                    kept.connection.renew_headers(target.headers)
                    kept.target = target
                    return kept.connection
            if kept.connection is not None:
                self._close(kept.connection)
                kept.connection = None
            versions = target.protocol_versions
            if not modern:
                versions = handshake_versions(versions) or versions
            kept.connection = await open_connection(
                self._outbound,
                target.url,
                target.headers,
                versions,
                timeouts=self._times,
                before_send=before_send,
                before_next=before_next,
                caller=caller,
            )
            if isinstance(kept.connection, LegacySession):
                kept.connection.aside = self._aside
            kept.target = target
            kept.log_level = None
            return kept.connection

    def end(self, session_id: UUID) -> None:
        """Close every connection of a client's session."""
        for key in [key for key in self._kept if key[0] == session_id]:
            self._release(key)

    async def aclose(self) -> None:
        """Close everything."""
        for key in list(self._kept):
            self._release(key)
        await asyncio.gather(*self._closing, return_exceptions=True)

    def _sweep(self, now: float) -> None:
        if len(self._kept) <= MAX_KEPT and now - self._swept_at < _SWEEP_SECONDS:
            return
        self._swept_at = now
        for key, kept in list(self._kept.items()):
            if kept.users:
                continue
            if now - kept.used_at < IDLE_SECONDS and len(self._kept) <= MAX_KEPT:
                break  # The rest was used later still.
            self._release(key)

    def _release(self, key: Key) -> None:
        kept = self._kept.pop(key)
        if kept.connection is not None:
            self._close(kept.connection)

    def _close(self, connection: Connection) -> None:
        self._aside(connection.close())

    def _aside(self, work: Coroutine[None, None, None]) -> None:
        """Have something done that nobody waits for."""
        task = asyncio.get_running_loop().create_task(work)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


async def _set_log_level(
    kept: _Kept, connection: Connection, log_level: str, before_send: Callable[[], bool]
) -> None:
    """A server that cannot, or does not like the level, is no reason to fail."""
    if isinstance(connection, LegacySession) and "logging" in connection.capabilities:
        try:
            await connection.request("logging/setLevel", {"level": log_level}, before_send=before_send)
        except McpUpstreamError as error:
            if error.kind != "rpc":
                raise
    kept.log_level = log_level
