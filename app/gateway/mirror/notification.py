"""A legacy client's notification, on its way through a mirror."""

from collections.abc import Callable

from app.admission.store import UpstreamTarget, View
from app.gateway.mirror.call import MirrorCall
from app.gateway.wire.envelope import SESSION


class MirrorNotification(MirrorCall):
    """One notification, inside the caller's own session."""

    __slots__ = ()

    async def _send_along(
        self, http_method: str, view: View, target: UpstreamTarget, before_send: Callable[[], bool]
    ) -> str:
        if self.message.method == "notifications/cancelled":
            # Before the server hears of it, which may answer at once.
            session, id = self.exchange.headers[SESSION], self.message.params.get("requestId")
            self.mirror.running.take_back(view.token.id, session, id)
        return await super()._send_along(http_method, view, target, before_send)
