"""Legacy sessions on ``/mcp``, their settings, and the connections to upstreams.

A session id is sealed for its token, so that any worker can verify it. The settings of a session are its log level and
its subscriptions.
"""

import asyncio
import os
from collections import Counter, OrderedDict, defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from time import monotonic
from uuid import UUID

from app.admission.store import SessionSettings, Store, UpstreamTarget, View
from app.gateway.pipeline import InFlightCall
from app.gateway.results import handshake_versions
from app.gateway.sealed_ids import FLEET, SessionSealer
from app.gateway.wire.exchange import Exchange
from app.gateway.wire.messages import SESSION, ClientFeatures
from app.gateway.wire.refusals import INVALID_REQUEST, Refused, invalid_params, no_such_session
from app.outbound.http import OutboundClient, Timeouts
from app.outbound.mcp.connection import LegacySession, ModernConnection
from app.outbound.mcp.exchange import McpUpstreamError
from app.outbound.mcp.probe import open_connection

MAX_CACHED = 10_000
MAX_URIS = 100
MAX_URI = 1024
"""Characters of a subscribed URI, so that settings stay small."""
MAX_REQUESTED_URI = 4096
"""Characters of a URI in a subscribe request. Longer ones are refused before admission."""
_NOTHING = SessionSettings()


class SessionSettingsCache:
    """A cache of session settings. Changes by other workers drop entries."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._cached: OrderedDict[UUID, SessionSettings] = OrderedDict()
        self._changes = 0
        self._listeners: defaultdict[UUID, set[asyncio.Event]] = defaultdict(set)

    def begin(self, session_id: UUID) -> None:
        """Cache empty settings for a new session."""
        self._keep(session_id, _NOTHING)

    async def get(self, session_id: UUID) -> SessionSettings:
        """Return the settings of a session. Raises ``StoreUnavailable``."""
        settings = self._cached.get(session_id)
        if settings is None:
            changes = self._changes
            settings = await self._store.read_session_settings(session_id)
            if changes == self._changes:
                # If settings have changed since, the result may be outdated.
                self._keep(session_id, settings)
        return settings

    async def set_log_level(self, session_id: UUID, token_id: UUID, level: str) -> None:
        """Set the log level of a session. Raises ``StoreUnavailable``."""
        settings = await self._store.change_session_settings(
            session_id, token_id, lambda settings: replace(settings, log_level=level)
        )
        self._update(session_id, settings)

    async def subscribe(self, session_id: UUID, token_id: UUID, uri: str) -> None:
        """Add a subscription. Raises ``StoreUnavailable``, and ``Refused`` if it is over a limit."""
        if len(uri) > MAX_URI:
            raise invalid_params(f"A subscribed URI may have at most {MAX_URI} characters.", modern=False)

        def change(settings: SessionSettings) -> SessionSettings:
            uris = settings.subscriptions | {uri}
            if len(uris) > MAX_URIS:
                raise invalid_params(f"A session may have at most {MAX_URIS} subscriptions.", modern=False)
            return replace(settings, subscriptions=uris)

        self._update(session_id, await self._store.change_session_settings(session_id, token_id, change))

    async def unsubscribe(self, session_id: UUID, token_id: UUID, uri: str) -> None:
        """Remove a subscription. Raises ``StoreUnavailable``."""
        if uri in (await self.get(session_id)).subscriptions:
            settings = await self._store.change_session_settings(
                session_id,
                token_id,
                lambda settings: replace(settings, subscriptions=settings.subscriptions - {uri}),
            )
            self._update(session_id, settings)

    @contextmanager
    def listen(self, session_id: UUID, changed: asyncio.Event) -> Iterator[None]:
        """Set the event whenever the session's settings change."""
        self._listeners[session_id].add(changed)
        try:
            yield
        finally:
            self._listeners[session_id].discard(changed)
            if not self._listeners[session_id]:
                del self._listeners[session_id]

    def forget(self, session_id: UUID | None) -> None:
        """Drop the cached settings of a session that another worker changed; ``None`` drops all."""
        self._changes += 1
        if session_id is None:
            self._cached.clear()
            sessions = list(self._listeners)
        else:
            self._cached.pop(session_id, None)
            sessions = [session_id]
        for each in sessions:
            self._notify(each)

    def _update(self, session_id: UUID, settings: SessionSettings) -> None:
        self._keep(session_id, settings)
        self._notify(session_id)

    def _notify(self, session_id: UUID) -> None:
        for changed in self._listeners.get(session_id, ()):
            changed.set()

    def _keep(self, session_id: UUID, settings: SessionSettings) -> None:
        self._cached[session_id] = settings
        if len(self._cached) > MAX_CACHED:
            self._cached.popitem(last=False)


Connection = LegacySession | ModernConnection
Key = tuple[UUID, UUID]
"""The ids of the client's session (modern: of its token) and of the server."""
IDLE_SECONDS = 600.0
MAX_KEPT = 4096
_SWEEP_SECONDS = 30.0


@dataclass(slots=True)
class _Entry:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    connection: Connection | None = None
    target: UpstreamTarget | None = None
    log_level: str | None = None
    used_at: float = 0.0
    users: int = 0


class UpstreamSessions:
    """Connections to upstreams by key, opened on first use and closed when idle."""

    def __init__(self, outbound: OutboundClient, times: Timeouts) -> None:
        self._outbound = outbound
        self.loops = outbound.loops
        self._times = times
        self._entries: OrderedDict[Key, _Entry] = OrderedDict()
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
        """Use the connection to a target, or open one in the caller's era if the upstream supports it.

        ``before_send`` is called before the first message, ``before_next`` before each later one that opens a session.
        ``log_level`` is set on servers that log. A connection in use is not evicted. A lost session is dropped. Raises
        ``McpUpstreamError``, ``NotForwarded`` and ``ForbiddenUrl``.
        """
        self._sweep(monotonic())
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = _Entry()
        self._entries.move_to_end(key)
        entry.users += 1
        try:
            connection = await self._connect(entry, target, modern, before_send, before_next, caller)
            try:
                if log_level is not None and entry.log_level != log_level:
                    await _set_log_level(entry, connection, log_level, before_send)
                yield connection
            except McpUpstreamError as error:
                if error.kind == "session_lost" and entry.connection is connection:
                    entry.connection = None
                raise
        finally:
            entry.users -= 1
            entry.used_at = monotonic()

    async def _connect(
        self,
        entry: _Entry,
        target: UpstreamTarget,
        modern: bool,
        before_send: Callable[[], bool],
        before_next: Callable[[], bool],
        caller: int | None,
    ) -> Connection:
        if entry.connection is not None and entry.target is target:
            # The usual case. A connection and its target are replaced together, without a pause.
            return entry.connection
        async with entry.lock:
            if entry.connection is not None and entry.target is not None:
                if entry.target == target:
                    return entry.connection
                if target.client is not None and replace(entry.target, headers=target.headers) == target:
                    entry.connection.renew_headers(target.headers)
                    entry.target = target
                    return entry.connection
            if entry.connection is not None:
                self._close(entry.connection)
                entry.connection = None
            versions = target.protocol_versions
            if not modern:
                versions = handshake_versions(versions) or versions
            entry.connection = await open_connection(
                self._outbound,
                target.url,
                target.headers,
                versions,
                timeouts=self._times,
                before_send=before_send,
                before_next=before_next,
                caller=caller,
            )
            if isinstance(entry.connection, LegacySession):
                entry.connection.run_in_background = self._run_in_background
            entry.target = target
            entry.log_level = None
            return entry.connection

    def end(self, session_id: UUID) -> None:
        """Close all connections of a client's session."""
        for key in [key for key in self._entries if key[0] == session_id]:
            self._release(key)

    async def aclose(self) -> None:
        """Close all connections."""
        for key in list(self._entries):
            self._release(key)
        await asyncio.gather(*self._closing, return_exceptions=True)

    def _sweep(self, now: float) -> None:
        if len(self._entries) <= MAX_KEPT and now - self._swept_at < _SWEEP_SECONDS:
            return
        self._swept_at = now
        for key, entry in list(self._entries.items()):
            if entry.users:
                continue
            if now - entry.used_at < IDLE_SECONDS and len(self._entries) <= MAX_KEPT:
                break  # The entries are ordered by last use.
            self._release(key)

    def _release(self, key: Key) -> None:
        entry = self._entries.pop(key)
        if entry.connection is not None:
            self._close(entry.connection)

    def _close(self, connection: Connection) -> None:
        self._run_in_background(connection.close())

    def _run_in_background(self, work: Coroutine[None, None, None]) -> None:
        """Run work in a background task."""
        task = asyncio.get_running_loop().create_task(work)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


async def _set_log_level(
    entry: _Entry, connection: Connection, log_level: str, before_send: Callable[[], bool]
) -> None:
    """Set the log level of a server session. An error answer of the server is ignored."""
    if isinstance(connection, LegacySession) and "logging" in connection.capabilities:
        try:
            await connection.request("logging/setLevel", {"level": log_level}, before_send=before_send)
        except McpUpstreamError as error:
            if error.kind != "rpc":
                raise
    entry.log_level = log_level


CANCELS_PER_MINUTE = 60
"""Maximum cancellations per minute and token that a worker broadcasts."""
MAX_REQUEST_ID = 256


class AggregateSessions:
    """Client sessions on ``/mcp``, and their running calls in this worker."""

    def __init__(
        self, sealer: SessionSealer, store: Store, settings: SessionSettingsCache, upstreams: UpstreamSessions
    ) -> None:
        self._sealer = sealer
        self._store = store
        self._notes_cache = settings
        self._upstreams = upstreams
        self._running: dict[tuple[UUID, str | int], InFlightCall] = {}
        self._broadcasts: Counter[UUID] = Counter()
        self._broadcasts_since = monotonic()

    def begin(self, token_id: UUID, features: ClientFeatures) -> bytes:
        """Make the sealed id of a new session, with the features of its client."""
        session_id = os.urandom(16)
        self._notes_cache.begin(UUID(bytes=session_id))
        return self._sealer.seal_session(token_id, FLEET, session_id, features)

    def open(self, exchange: Exchange, view: View) -> tuple[UUID, ClientFeatures]:
        """Return the session of a request, and the features of its client.

        Raises ``Refused`` without a session, and for a session of another token.
        """
        sealed = exchange.headers.get(SESSION)
        if sealed is None:
            raise Refused(400, INVALID_REQUEST, "The Mcp-Session-Id header is missing. Initialize first.")
        opened = self._sealer.open_session(view.token.id, FLEET, sealed)
        if opened is None or len(opened[0]) != 16:
            raise no_such_session()
        return UUID(bytes=opened[0]), opened[1]

    async def check(self, session_id: UUID) -> None:
        """Raise ``Refused`` if the session has ended."""
        if await self._store.has_session_ended(session_id):
            raise no_such_session()

    async def end(self, session_id: UUID, token_id: UUID) -> None:
        """End a session in all workers."""
        await self.check(session_id)
        await self._store.end_session(session_id, token_id)
        self._upstreams.end(session_id)

    @contextmanager
    def running(self, key: tuple[UUID, str | int], call: InFlightCall) -> Iterator[None]:
        """Register a running call, so that ``notifications/cancelled`` can cancel it."""
        self._running[key] = call
        try:
            yield
        finally:
            if self._running.get(key) is call:
                del self._running[key]

    def cancel(self, token_id: UUID, session_id: UUID, request_id: object) -> None:
        """Cancel a call of the session in any worker. An invalid id is ignored."""
        if isinstance(request_id, bool) or not isinstance(request_id, (str, int)):
            return
        if not self.cancel_local(session_id, request_id):
            self.broadcast_cancel(token_id, session_id, request_id)

    def broadcast_cancel(self, token_id: UUID, session_id: UUID, request_id: str | int) -> None:
        """Broadcast a cancellation to the other workers, within the token's rate limit."""
        if len(str(request_id)) > MAX_REQUEST_ID:
            return
        now = monotonic()
        if now - self._broadcasts_since >= 60:
            self._broadcasts.clear()
            self._broadcasts_since = now
        self._broadcasts[token_id] += 1
        if self._broadcasts[token_id] <= CANCELS_PER_MINUTE:
            self._store.broadcast_cancel(session_id, request_id)

    def cancel_local(self, session_id: UUID, request_id: str | int) -> bool:
        """Cancel a call of this worker; returns whether there is one."""
        call = self._running.get((session_id, request_id))
        if call is None:
            return False
        call.leave()
        return True
