"""A legacy client's notification, on its way through a mirror; and what becomes of a call that one takes back."""

from app.gateway.envelope import SESSION
from app.gateway.mirror_call import MirrorCall
from app.gateway.pipeline import Flight
from app.gateway.ports import UpstreamTarget, View

GRACE_SECONDS = 5.0
"""How long a server may take to end a call that its client took back, before its connection is closed."""


class MirrorNotification(MirrorCall):
    """One notification, inside the caller's own session."""

    __slots__ = ()

    async def _send_along(self, http_method: str, view: View, target: UpstreamTarget) -> str:
        flight = self._taken_back()
        if flight is not None:
            # Before the server hears of it, which may answer at once.
            flight.withdrawn = True
        outcome = await super()._send_along(http_method, view, target)
        if flight is not None:
            # Nobody waits for an answer any more, and the protocol wants none.
            self.exchange.alarms.set(GRACE_SECONDS, flight.leave)
        return outcome

    def _taken_back(self) -> Flight | None:
        """The call in this worker that is cancelled: one of the same session, as the session's id is sealed."""
        id = self.message.params.get("requestId")
        if self.message.method != "notifications/cancelled" or isinstance(id, bool):
            return None
        if not isinstance(id, (str, int)):
            return None
        return self.mirror.running.get((self.exchange.headers[SESSION], id))
