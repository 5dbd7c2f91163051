"""Calls of legacy sessions on mirrors that run here, for clients that take one back: they may tell any worker."""

import hashlib
from collections.abc import Callable
from uuid import UUID

from app.gateway.pipeline import Flight
from app.gateway.wire.alarms import Alarms

GRACE_SECONDS = 5.0
"""How long a server may take to end a call that its client took back, before its connection is closed."""

Tell = Callable[[UUID, UUID, str | int], None]
"""Tells the other workers: of which token, in which session, which request."""


class RunningCalls:
    """What runs in this worker, by the sealed id of the session, of one token and server, and the call's own."""

    def __init__(self, alarms: Alarms, tell: Tell) -> None:
        self._alarms = alarms
        self._tell = tell
        self._running: dict[tuple[bytes, str | int], Flight] = {}

    def begin(self, session: bytes, id: str | int, flight: Flight) -> None:
        """It runs."""
        self._running[(session, id)] = flight

    def end(self, session: bytes, id: str | int, flight: Flight) -> None:
        """It runs no more."""
        if self._running.get((session, id)) is flight:
            del self._running[(session, id)]

    def take_back(self, token_id: UUID, session: bytes, id: object) -> None:
        """Its client wants no answer any more. The server is told by its client's own message."""
        if isinstance(id, bool) or not isinstance(id, (str, int)):
            return
        flight = self._running.get((session, id))
        if flight is not None:
            self._withdraw(flight)
        else:
            self._tell(token_id, _handle(session), id)

    def taken_back_elsewhere(self, handle: UUID, id: str | int) -> None:
        """Another worker was told so, and does not have the call."""
        for (session, each), flight in list(self._running.items()):
            if each == id and type(each) is type(id) and _handle(session) == handle:
                self._withdraw(flight)

    def _withdraw(self, flight: Flight) -> None:
        flight.withdrawn = True
        self._alarms.set(GRACE_SECONDS, flight.leave)


def _handle(session: bytes) -> UUID:
    """What the session is called among workers, who do not tell each other its id."""
    return UUID(bytes=hashlib.sha256(session).digest()[:16])
