"""The stream that a legacy client opens with GET: to hear of its session, or to take an answer's stream up again."""

from time import time

from app.admission.store import UpstreamTarget, View
from app.gateway.asking import Ask
from app.gateway.mirror.call import MirrorCall
from app.gateway.mirror.mirrored import Mirrored
from app.gateway.mirror.passage import MirrorPassage, Origin, open_event_id
from app.gateway.pipeline import Denied, Passed
from app.gateway.relay import Relay, Watch
from app.gateway.wire.answers import Answer, refuse_status, secrets_of
from app.gateway.wire.envelope import SESSION, Message
from app.gateway.wire.http import Exchange
from app.gateway.wire.methods import Asks
from app.gateway.wire.refusals import INVALID_REQUEST, Refused, bad_upstream, no_such_server

LAST_EVENT_ID = b"last-event-id"


class MirrorListen(MirrorCall):
    """One GET. An answer's stream that is taken up again is decided as the request was that it answers."""

    __slots__ = ("_event_id", "_origin")

    def __init__(self, mirror: Mirrored, exchange: Exchange, slug: str, version: str | None) -> None:
        super().__init__(mirror, exchange, slug, Message({}, "GET", {}, None, modern=False, version=version))
        self._event_id: str | None = None
        self._origin: Origin | None = None

    async def listen(self, view: View) -> None:
        """Decide, admit, and pass on what comes, until either side ends it or access is withdrawn."""
        exchange = self.exchange
        if LAST_EVENT_ID in exchange.headers:
            self._resume(view)
        ask = Ask("mcp.listen", "GET", self.slug, exchange.address, parts=self._origin is None)
        if self._origin is not None:
            self.tool = ask.tool = self._origin.tool
            ask.action = "mcp.resume"
            ask.lists = self._origin.method == "tools/list"
            ask.parts = self._origin.method == "initialize"
            ask.part = self._origin.part
        with self.mirror.streams.opened(exchange, view):
            try:
                await self.mirror.pipeline.run(exchange, view, ask, self._stream, check=self._check)
            except Denied:
                raise no_such_server() from None

    def _resume(self, view: View) -> None:
        """Find out whose stream is meant, by the id of its event. Raises ``Refused`` for one that is not of here."""
        server = view.servers.get(self.slug)
        if server is None:
            return
        session = self.exchange.headers.get(SESSION)
        opened = (
            None if session is None else self.mirror.sealer.open_session(view.token.id, server.id, session)
        )
        shown = self.exchange.headers[LAST_EVENT_ID]
        found = None
        if opened is not None:
            found = open_event_id(self.mirror.sealer, view.token.id, server.id, opened[0], shown)
        if found is None:
            raise Refused(400, INVALID_REQUEST, "The Last-Event-ID is of no stream of this session.")
        self._event_id, self._origin = found
        if self._origin is not None:
            self.exchange.id = self._origin.id

    async def _stream(self, passed: Passed) -> str:
        target, exchange, origin = passed.to, self.exchange, self._origin
        completions, leads = self.mirror.approvals.completions, Asks.URL in self.asks and origin is None
        with (
            completions.told_on(exchange, passed.view.token.id, leads=leads),
            Watch(exchange, passed.flight, modern=True) as watch,
        ):
            response = await self.mirror.outbound.request(
                "GET",
                target.url,
                self._headers(target),
                timeouts=self.mirror.times.listen,
                before_send=passed.flight.may_start,
                caller=passed.view.token.identity.id.int,
            )
            try:
                secrets = secrets_of(target)
                if response.status == 405:
                    raise Refused(
                        405,
                        INVALID_REQUEST,
                        "This server opens no streams of its own.",
                        headers=((b"allow", b"POST, DELETE"),),
                    )
                if response.status != 200:
                    raise await refuse_status(response, secrets)
                media = (response.header(b"content-type") or b"").partition(b";")[0].strip().lower()
                if media != b"text/event-stream":
                    raise bad_upstream("The server behind the gateway opened no event stream.")
                await exchange.stream(b"")
                answer = Answer(None, secrets, check_error=self._check_error)
                if origin is not None:
                    asked = Message(
                        {}, origin.method, {}, origin.id, modern=False, version=self.message.version
                    )
                    rewrite = self._rewrite(asked, passed)
                    answer = Answer(origin.id, secrets, rewrite, self._check_error)
                passage = MirrorPassage(self._line(passed, self.session), origin)
                reply = self._replier(passed, self.session)
                relay = Relay(exchange, answer, watch, passage, reply, answers=origin is not None)
                outcome = await relay.run(response)
            finally:
                response.close()
        if origin is not None and outcome != "unknown":
            passage.close()
            self._tell(origin, outcome)
        return outcome if outcome != "unknown" else "success"

    def _tell(self, origin: Origin, outcome: str) -> None:
        """How the call ended whose stream was left."""
        began = (origin.call_id.int >> 80) / 1000  # A UUIDv7 begins with the time.
        took = max(0, int((time() - began) * 1000))
        self.mirror.pipeline.admissions.finish(origin.call_id, outcome, took)

    def _headers(self, target: UpstreamTarget, passed: Passed | None = None) -> list[tuple[bytes, bytes]]:
        headers = [
            (name, value) for name, value in super()._headers(target, passed) if name != b"content-type"
        ]
        if self._event_id is not None:
            headers.append((LAST_EVENT_ID, self._event_id.encode()))
        return headers
