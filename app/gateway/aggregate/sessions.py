"""Legacy sessions on ``/mcp``, what their clients asked for, and the connections to upstreams behind them.

An id is sealed over the token, so that any worker knows whose it is. Notes hold what a session's client asked for.
"""

import asyncio
import os
from collections import Counter, OrderedDict, defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from time import monotonic
from uuid import UUID

from app.admission.store import EndedSessions, Neighbours, Notes, SessionNotes, UpstreamTarget, View
from app.gateway.pipeline import InFlightCall
from app.gateway.results import handshake_versions
from app.gateway.sealed_ids import FLEET, SessionSealer
from app.gateway.wire.exchange import Exchange
from app.gateway.wire.messages import SESSION, Asks
from app.gateway.wire.refusals import INVALID_REQUEST, Refused, invalid_params, no_such_session
from app.outbound.http import OutboundClient, Timeouts
from app.outbound.mcp import LegacySession, McpUpstreamError, ModernConnection, open_connection

MAX_KNOWN = 10_000
MAX_URIS = 100
MAX_URI = 1024
"""Characters: what is noted of a session stays small."""
LONGEST_URI = 4096
"""Characters: a session's subscriptions are kept as long as its token lives."""
_NOTHING = Notes()


class Notebook:
    """Reads each session's notes once, until another worker changes them."""

    def __init__(self, store: SessionNotes) -> None:
        self._store = store
        self._known: OrderedDict[UUID, Notes] = OrderedDict()
        self._moves = 0
        self._listeners: defaultdict[UUID, set[asyncio.Event]] = defaultdict(set)

    def begin(self, session_id: UUID) -> None:
        """A session that was just made has asked for nothing."""
        self._keep(session_id, _NOTHING)

    async def of(self, session_id: UUID) -> Notes:
        """Raises ``StoreUnavailable``."""
        notes = self._known.get(session_id)
        if notes is None:
            moves = self._moves
            notes = await self._store.read(session_id)
            if moves == self._moves:
                # Else what was read may be what was there before.
                self._keep(session_id, notes)
        return notes

    async def set_log_level(self, session_id: UUID, token_id: UUID, level: str) -> None:
        """Raises ``StoreUnavailable``."""
        notes = await self._store.change(session_id, token_id, lambda notes: replace(notes, log_level=level))
        self._changed(session_id, notes)

    async def subscribe(self, session_id: UUID, token_id: UUID, uri: str) -> None:
        """Raises ``StoreUnavailable``, and ``Refused`` for one too many or too long."""
        if len(uri) > MAX_URI:
            raise invalid_params(f"A URI to subscribe to has {MAX_URI} characters at most.", modern=False)

        def change(notes: Notes) -> Notes:
            uris = notes.subscriptions | {uri}
            if len(uris) > MAX_URIS:
                raise invalid_params(f"A session has {MAX_URIS} subscriptions at most.", modern=False)
            return replace(notes, subscriptions=uris)

        self._changed(session_id, await self._store.change(session_id, token_id, change))

    async def unsubscribe(self, session_id: UUID, token_id: UUID, uri: str) -> None:
        """Raises ``StoreUnavailable``."""
        if uri in (await self.of(session_id)).subscriptions:
            notes = await self._store.change(
                session_id, token_id, lambda notes: replace(notes, subscriptions=notes.subscriptions - {uri})
            )
            self._changed(session_id, notes)

    @contextmanager
    def listening(self, session_id: UUID, moved: asyncio.Event) -> Iterator[None]:
        """Set the event whenever the session's notes change."""
        self._listeners[session_id].add(moved)
        try:
            yield
        finally:
            self._listeners[session_id].discard(moved)
            if not self._listeners[session_id]:
                del self._listeners[session_id]

    def changed_elsewhere(self, session_id: UUID | None) -> None:
        """Another worker changed the notes of a session; ``None``: of nobody knows which."""
        self._moves += 1
        if session_id is None:
            self._known.clear()
            told = list(self._listeners)
        else:
            self._known.pop(session_id, None)
            told = [session_id]
        for each in told:
            self._tell(each)

    def _changed(self, session_id: UUID, notes: Notes) -> None:
        self._keep(session_id, notes)
        self._tell(session_id)

    def _tell(self, session_id: UUID) -> None:
        for moved in self._listeners.get(session_id, ()):
            moved.set()

    def _keep(self, session_id: UUID, notes: Notes) -> None:
        self._known[session_id] = notes
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)


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
                kept.connection.run_in_background = self._aside
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


TELLS_A_MINUTE = 60
"""How often a worker passes on, for one token, that it cancels what does not run here."""
LONGEST_ID = 256


class AggregateSessions:
    """The sessions as this worker knows them."""

    def __init__(
        self,
        sealer: SessionSealer,
        ended: EndedSessions,
        notebook: Notebook,
        neighbours: Neighbours,
        upstreams: UpstreamSessions,
    ) -> None:
        self._sealer = sealer
        self._ended = ended
        self._notebook = notebook
        self._neighbours = neighbours
        self._upstreams = upstreams
        self._running: dict[tuple[UUID, str | int], InFlightCall] = {}
        self._told: Counter[UUID] = Counter()
        self._told_since = monotonic()

    def begin(self, token_id: UUID, asks: Asks) -> bytes:
        """The id of a new session, as the client sees it. ``asks``: what its client can be asked for."""
        session_id = os.urandom(16)
        self._notebook.begin(UUID(bytes=session_id))
        return self._sealer.seal_session(token_id, FLEET, session_id, asks)

    def of(self, exchange: Exchange, view: View) -> tuple[UUID, Asks]:
        """The session that a request is in, and what its client said that it can be asked for.

        Raises ``Refused`` for none, and for one of another token.
        """
        sealed = exchange.headers.get(SESSION)
        if sealed is None:
            raise Refused(400, INVALID_REQUEST, "The Mcp-Session-Id header is missing. Initialize first.")
        opened = self._sealer.open_session(view.token.id, FLEET, sealed)
        if opened is None or len(opened[0]) != 16:
            raise no_such_session()
        return UUID(bytes=opened[0]), opened[1]

    async def check(self, session_id: UUID) -> None:
        """Raise ``Refused`` when its client has ended it."""
        if await self._ended.has_ended(session_id):
            raise no_such_session()

    async def end(self, session_id: UUID, token_id: UUID) -> None:
        """End it, for every worker."""
        await self.check(session_id)
        await self._ended.end(session_id, token_id)
        self._upstreams.end(session_id)

    @contextmanager
    def running(self, key: tuple[UUID, str | int], call: InFlightCall) -> Iterator[None]:
        """Let ``notifications/cancelled`` find a call while it runs, by its session and its id there."""
        self._running[key] = call
        try:
            yield
        finally:
            if self._running.get(key) is call:
                del self._running[key]

    def cancel(self, token_id: UUID, session_id: UUID, request_id: object) -> None:
        """End a call of the session, wherever it runs; what is no call's id ends none."""
        if isinstance(request_id, bool) or not isinstance(request_id, (str, int)):
            return
        if not self.cancelled(session_id, request_id):
            self.tell_cancelled(token_id, session_id, request_id)

    def tell_cancelled(self, token_id: UUID, session_id: UUID, request_id: str | int) -> None:
        """Let the other workers look for it, as often as one token may ask for that."""
        if len(str(request_id)) <= LONGEST_ID and self._may_tell(token_id):
            self._neighbours.tell_cancelled(session_id, request_id)

    def cancelled(self, session_id: UUID, request_id: str | int) -> bool:
        """Whether such a call ran here; it ends."""
        call = self._running.get((session_id, request_id))
        if call is None:
            return False
        call.leave()
        return True

    def _may_tell(self, token_id: UUID) -> bool:
        now = monotonic()
        if now - self._told_since >= 60:
            self._told.clear()
            self._told_since = now
        self._told[token_id] += 1
        return self._told[token_id] <= TELLS_A_MINUTE
