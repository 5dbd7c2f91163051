"""Legacy sessions on ``/mcp``: their ids, what runs in them, and their end.

An id is sealed over the token, so that any worker knows whose it is; what a session's client asked for is in its notes.
"""

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from uuid import UUID

from app.admission.store import EndedSessions, Neighbours, View
from app.gateway.aggregate.notes import Notebook
from app.gateway.pipeline import Flight
from app.gateway.sessions import FLEET, SessionSealer
from app.gateway.upstream_sessions import UpstreamSessions
from app.gateway.wire.envelope import SESSION
from app.gateway.wire.http import Exchange
from app.gateway.wire.methods import Asks
from app.gateway.wire.refusals import INVALID_REQUEST, Refused, no_such_session

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
        self._running: dict[tuple[UUID, str | int], Flight] = {}
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
    def running(self, key: tuple[UUID, str | int], flight: Flight) -> Iterator[None]:
        """Let ``notifications/cancelled`` find a call while it runs, by its session and its id there."""
        self._running[key] = flight
        try:
            yield
        finally:
            if self._running.get(key) is flight:
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
        flight = self._running.get((session_id, request_id))
        if flight is None:
            return False
        flight.leave()
        return True

    def _may_tell(self, token_id: UUID) -> bool:
        now = monotonic()
        if now - self._told_since >= 60:
            self._told.clear()
            self._told_since = now
        self._told[token_id] += 1
        return self._told[token_id] <= TELLS_A_MINUTE
