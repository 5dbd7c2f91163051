"""The endpoint ``/mcp/{slug}``: one upstream, in its own eras, without translation."""

from dataclasses import dataclass
from time import time  # noqa: TID251 - ids have the time of workers

from mcp.shared.inbound import encode_header_value

from app.admission.store import UpstreamTarget, View
from app.domain.objects import Server
from app.gateway.access_check import AccessCheck
from app.gateway.mirror.call import MirrorCall, MirrorServices
from app.gateway.mirror.streams import MirrorStreamFilter, Origin, open_event_id
from app.gateway.pipeline import (
    Denied,
    FreshCall,
    GatewayRequest,
    InFlightCall,
    reaches,
    record_unknown_version,
)
from app.gateway.relay import Relay
from app.gateway.results import missing_tasks, unknown_task
from app.gateway.wire import messages, refusals
from app.gateway.wire.answers import Answer, refuse_status, target_secrets
from app.gateway.wire.exchange import ClientWatch, Exchange, result_body
from app.gateway.wire.messages import NAME, SESSION, ClientFeatures, Message, Method
from app.gateway.wire.refusals import INVALID_REQUEST, Refused, UnknownVersion

LAST_EVENT_ID = b"last-event-id"


class MirrorListen(MirrorCall):
    """One GET. A resumed answer stream is decided like the request that it answers."""

    _event_id: str | None = None
    _origin: Origin | None = None

    async def listen(self) -> None:
        """Decide, admit, and relay the stream until either side closes it or access is withdrawn."""
        if self.message.modern:
            raise refusals.wrong_http_method(modern=True)
        exchange, view = self.exchange, self.view
        if LAST_EVENT_ID in exchange.headers:
            self._resume(view)
        access = AccessCheck("mcp.listen", self.slug, exchange.address, parts=self._origin is None)
        if self._origin is not None:
            self.tool = access.tool = self._origin.tool
            access.action = "mcp.resume"
            access.lists = self._origin.method == "tools/list"
            access.parts = self._origin.method == "initialize"
            access.part = self._origin.part
        with self.services.streams.hold(exchange, view):
            try:
                request = GatewayRequest(exchange, view, access, "GET", self._check)
                async for call in self.services.pipeline.admitted(request):
                    async with call:
                        call.outcome = await self._stream(call)
            except Denied:
                raise refusals.no_such_server() from None

    def _resume(self, view: View) -> None:
        """Open the id of the last event. Raises ``Refused`` for an id of another session."""
        server = view.servers.get(self.slug)
        if server is None:
            return
        session = self.exchange.headers.get(SESSION)
        opened = (
            None if session is None else self.services.sealer.open_session(view.token.id, server.id, session)
        )
        shown = self.exchange.headers[LAST_EVENT_ID]
        event = None
        if opened is not None:
            event = open_event_id(self.services.sealer, view.token.id, server.id, opened[0], shown)
        if event is None:
            raise Refused(400, INVALID_REQUEST, "The Last-Event-ID belongs to no stream of this session.")
        self._event_id, self._origin = event
        if self._origin is not None:
            self.exchange.id = self._origin.id

    async def _stream(self, call: InFlightCall) -> str:
        target, exchange, origin = call.target, self.exchange, self._origin
        completions, supports_url = (
            self.services.approvals.completions,
            ClientFeatures.URL in self.features and origin is None,
        )
        with (
            completions.subscribe(exchange, call.view.token.id, supports_url=supports_url),
            ClientWatch(exchange, call, modern=True) as watch,
        ):
            response = await self.services.outbound.request(
                "GET",
                target.url,
                self._headers(target),
                timeouts=self.services.times.listen,
                before_send=call.may_start,
                caller=call.view.token.identity.id.int,
            )
            try:
                secrets = target_secrets(target)
                if response.status == 405:
                    text = "This server does not support streams with GET."
                    raise refusals.not_allowed(text, b"POST, DELETE")
                if response.status != 200:
                    raise await refuse_status(response, secrets)
                media = (response.header(b"content-type") or b"").partition(b";")[0].strip().lower()
                if media != b"text/event-stream":
                    raise refusals.bad_upstream("The server behind the gateway did not open an event stream.")
                await exchange.stream(b"")
                answer = Answer(None, secrets, check_error=self._check_error)
                if origin is not None:
                    asked = Message(
                        {}, origin.method, {}, origin.id, modern=False, version=self.message.version
                    )
                    rewrite = self._rewrite(asked, call)
                    answer = Answer(origin.id, secrets, rewrite, self._check_error)
                stream_filter = MirrorStreamFilter(self._stream_context(call, self.session), origin)
                reply = self._replier(call, self.session)
                relay = Relay(exchange, answer, watch, stream_filter, reply, answers=origin is not None)
                outcome = await relay.run(response)
            finally:
                response.close()
        if origin is not None and outcome != "unknown":
            stream_filter.close()
            # Record the outcome of the call whose stream was resumed. A UUIDv7 begins with its time in milliseconds.
            started = (origin.call_id.int >> 80) / 1000
            duration_ms = max(0, int((time() - started) * 1000))
            self.services.pipeline.store.finish(origin.call_id, outcome, duration_ms)
        return outcome if outcome != "unknown" else "success"

    def _headers(self, target: UpstreamTarget, call: InFlightCall | None = None) -> list[tuple[bytes, bytes]]:
        headers = [(name, value) for name, value in super()._headers(target, call) if name != b"content-type"]
        if self._event_id is not None:
            headers.append((LAST_EVENT_ID, self._event_id.encode()))
        return headers


class MirrorNotification(MirrorCall):
    """One notification in the caller's session."""

    async def _forward_in_session(self, http_method: str, call: FreshCall | InFlightCall) -> str:
        if self.message.method == "notifications/cancelled":
            # Cancel before the server gets the notification, because it may answer immediately.
            session, id = self.exchange.headers[SESSION], self.message.params.get("requestId")
            self.services.running.cancel(call.view.token.id, session, id)
        return await super()._forward_in_session(http_method, call)


class MirrorResponse(MirrorCall):
    """One response to a server request, under the admission of its session."""

    _taken = False

    async def pass_on(self) -> None:
        """Forward the response with the server's own id. Raises ``Refused`` if no request of the session is pending."""
        # The gateway answers a response without a JSON-RPC id.
        self.exchange.id = None
        await self.run_in_session(AccessCheck("mcp.response", self.slug, self.exchange.address), "POST")

    def _check(self, server: Server, target: UpstreamTarget) -> None:
        super()._check(server, target)
        if self._taken:
            return
        id = self.services.requests.take(self.view.token.id, server.id, self.session, self.message.id)
        if id is None:
            raise Refused(400, INVALID_REQUEST, "No request of the server is waiting for this response.")
        self._taken = True
        self.message.body["id"] = id


class MirrorTask(MirrorCall):
    """One request about a task, from its decision to its answer."""

    async def run(self, method: Method) -> None:
        """Decide, admit, forward, answer."""
        message, exchange, view = self.message, self.exchange, self.view
        if message.modern:
            self._declare()
        client = messages.read_client(exchange, message)
        access = AccessCheck(
            method.action, self.slug, exchange.address, program=messages.caller_program(client)
        )
        if self._open(view):
            self._open_related(view.servers.get(self.slug))
            access.tool = self.tool
        else:
            access.refused = "task_unknown"
        pipeline = self.services.pipeline
        request = GatewayRequest(exchange, view, access, message.method, self._check, client)
        try:
            async for call in pipeline.admitted(request):
                async with call:
                    call.outcome = await self._forward(call)
        except Denied as denied:
            at = pipeline.store.now()
            if not reaches(denied.view, self.slug, at, exchange.address):
                raise refusals.no_such_server() from None
            if message.modern and not messages.supported_extensions(
                message.params["_meta"][messages.CAPABILITIES_KEY]
            ):
                raise missing_tasks() from None
            raise unknown_task(message.modern) from None

    def _open(self, view: View) -> bool:
        """Put the server's own task id into the message; false if the task is of another token or server."""
        server, params = view.servers.get(self.slug), self.message.params
        task = None
        if server is not None:
            task = self.services.tasks.open(view.token.id, server.id, params.get("taskId"))
        if task is None:
            return False
        self.tool = task.tool
        params["taskId"] = task.id
        return True

    def _headers(self, target: UpstreamTarget, call: InFlightCall | None = None) -> list[tuple[bytes, bytes]]:
        """Set ``Mcp-Name`` to the server's task id, which may route requests to the machine that has the task."""
        headers = [(name, value) for name, value in super()._headers(target, call) if name != NAME]
        if self.message.modern:
            headers.append((NAME, encode_header_value(self.message.params["taskId"]).encode("ascii")))
        return headers


@dataclass(frozen=True, slots=True)
class Mirror:
    """The endpoint for all paths ``/mcp/{slug}``."""

    services: MirrorServices
    body_limit: int

    async def serve(self, exchange: Exchange, view: View, slug: str) -> None:
        """Answer one request of a live token."""
        try:
            message = await messages.read_request(exchange, self.body_limit, responses=True)
        except UnknownVersion as refused:
            raise await self._refuse_version(exchange, view, slug, refused) from None
        methods = messages.MODERN if message.modern else messages.LEGACY
        method = None if message.id is None else methods.get(message.method)
        if method is not None:
            await MirrorCall(self.services, exchange, view, slug, message).run(method)
        elif exchange.method == "DELETE":
            await self._end_session(exchange, view, slug, message)
        elif exchange.method == "GET":
            await MirrorListen(self.services, exchange, view, slug, message).listen()
        elif message.is_response:
            await MirrorResponse(self.services, exchange, view, slug, message).pass_on()
        elif message.id is None:
            await self._notify(exchange, view, slug, message)
        elif message.method == "ping" and not message.modern:
            await self._pong(exchange, view, slug)
        else:
            task_method = (messages.MODERN_TASKS if message.modern else messages.LEGACY_TASKS).get(
                message.method
            )
            if task_method is None:
                raise refusals.unknown_method(message.modern)
            await MirrorTask(self.services, exchange, view, slug, message).run(task_method)

    async def _pong(self, exchange: Exchange, view: View, slug: str) -> None:
        """Answer a ping, because the gateway is the other end of the session."""
        sealed, server = exchange.headers.get(SESSION), view.servers.get(slug)
        if sealed is not None and (
            server is None or self.services.sealer.open_session(view.token.id, server.id, sealed) is None
        ):
            raise refusals.no_such_session()
        await exchange.answer(200, result_body(exchange.id, {}))

    async def _notify(self, exchange: Exchange, view: View, slug: str, message: Message) -> None:
        """Forward supported notifications in the caller's session."""
        if (
            message.modern
            or message.method not in messages.CLIENT_NOTIFICATIONS
            or SESSION not in exchange.headers
        ):
            await exchange.answer(202)
            return
        call = MirrorNotification(self.services, exchange, view, slug, message)
        await call.run_in_session(AccessCheck("mcp.notification", slug, exchange.address), "POST")

    async def _end_session(self, exchange: Exchange, view: View, slug: str, message: Message) -> None:
        if message.modern:
            raise refusals.not_allowed("There are no sessions to delete.")
        if SESSION not in exchange.headers:
            raise Refused(400, -32600, "The Mcp-Session-Id header is missing.")
        call = MirrorCall(self.services, exchange, view, slug, message)
        await call.run_in_session(AccessCheck("mcp.end_session", slug, exchange.address), "DELETE")

    async def _refuse_version(
        self, exchange: Exchange, view: View, slug: str, refused: UnknownVersion
    ) -> Refused:
        """Record an unknown version as a denied call. Only callers that reach the server see its versions."""
        pipeline = self.services.pipeline
        view = await record_unknown_version(pipeline, exchange, view, slug)
        if not reaches(view, slug, pipeline.store.now(), exchange.address):
            return refused
        target = await pipeline.target(view.servers[slug], view.token)
        offered = target.protocol_versions or messages.NEWEST_FIRST
        return refusals.unsupported_version(refused.requested, offered)
