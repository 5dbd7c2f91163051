"""A legacy client's response to a request of the server, on its way through a mirror."""

from app.admission.store import UpstreamTarget, View
from app.domain.objects import Server
from app.gateway.asking import Ask
from app.gateway.mirror.call import MirrorCall
from app.gateway.wire.refusals import INVALID_REQUEST, Refused


class MirrorResponse(MirrorCall):
    """One response: it rides on the admission of the call that the server asked in."""

    __slots__ = ("_taken",)

    async def pass_on(self, view: View) -> None:
        """Forward it under the server's own id. Raises ``Refused`` when no request of this session waits for it."""
        self._taken = False
        # It answers no message of ours with an id.
        self.exchange.id = None
        ask = Ask("mcp.response", "response", self.slug, self.exchange.address)
        await self.ride(view, ask, "POST")

    def _check(self, view: View, server: Server, target: UpstreamTarget) -> None:
        super()._check(view, server, target)
        if self._taken:
            return
        id = self.mirror.requests.take(view.token.id, server.id, self.session, self.message.id)
        if id is None:
            raise Refused(400, INVALID_REQUEST, "No request of the server is waiting for this response.")
        self._taken = True
        self.message.body["id"] = id
