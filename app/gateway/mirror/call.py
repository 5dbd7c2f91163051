"""One request to a mirror endpoint."""

import contextlib
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from app.admission.store import StoreUnavailable, UpstreamTarget, View
from app.domain.objects import Part, Server
from app.gateway import results
from app.gateway.access_check import AccessCheck
from app.gateway.approvals import (
    Approvals,
    ResumedRequest,
    covered_body,
    exceeds_approval,
    is_trace_parent,
    is_trace_state,
)
from app.gateway.limits import CallTimes, OpenStreams
from app.gateway.mirror.streams import MirrorStreamFilter, Origin, StreamContext
from app.gateway.pipeline import (
    HIDDEN_REASONS,
    ApprovalNeeded,
    Denied,
    FreshCall,
    GatewayRequest,
    InFlightCall,
    Pipeline,
    reaches,
)
from app.gateway.relay import AnswerUpstream, Relay
from app.gateway.results import RELATED, Round, ScopedTasks, Tasks, TaskScope
from app.gateway.sealed_ids import MAX_SEALED, ServerRequests, SessionSealer
from app.gateway.wire import messages, refusals
from app.gateway.wire.answers import Answer, InputRequestRules, Rewrite, refuse_status, target_secrets
from app.gateway.wire.exchange import Alarms, ClientWatch, Exchange, HeaderList
from app.gateway.wire.messages import SESSION, ClientFeatures, Message, Method
from app.gateway.wire.refusals import Refused
from app.lib import strict_json
from app.lib.event_loop import MIN_LARGE_BYTES, is_large, off_loop
from app.outbound.http import VIA, NotForwarded, OutboundClient, OutboundResponse, Timeouts

GRACE_SECONDS = 5.0
"""How long a server may take to end a canceled call before its connection is closed."""
Broadcast = Callable[[UUID, UUID, str | int], None]
"""Broadcasts a cancellation to the other workers: token id, session handle, request id."""


class RunningCalls:
    """The running calls of this worker, by sealed session id and JSON-RPC id."""

    def __init__(self, alarms: Alarms, broadcast: Broadcast) -> None:
        self._alarms = alarms
        self._broadcast = broadcast
        self._running: dict[tuple[bytes, str | int], InFlightCall] = {}

    def begin(self, session: bytes, id: str | int, call: InFlightCall) -> None:
        """Add a call that starts."""
        self._running[(session, id)] = call

    def end(self, session: bytes, id: str | int, call: InFlightCall) -> None:
        """Remove a call that has ended."""
        if self._running.get((session, id)) is call:
            del self._running[(session, id)]

    def cancel(self, token_id: UUID, session: bytes, id: object) -> None:
        """Cancel a call, in any worker. The client's own notification is forwarded to the server."""
        if isinstance(id, bool) or not isinstance(id, (str, int)):
            return
        call = self._running.get((session, id))
        if call is not None:
            self._withdraw(call)
        else:
            self._broadcast(token_id, _handle(session), id)

    def cancel_by_handle(self, handle: UUID, id: str | int) -> None:
        """Cancel a call of this worker on behalf of another worker."""
        for (session, each), call in list(self._running.items()):
            if each == id and type(each) is type(id) and _handle(session) == handle:
                self._withdraw(call)

    def _withdraw(self, call: InFlightCall) -> None:
        call.canceled_by_client = True
        self._alarms.set(GRACE_SECONDS, call.leave)


def _handle(session: bytes) -> UUID:
    """Return the session's name in messages between workers, which do not contain its id."""
    return UUID(bytes=hashlib.sha256(session).digest()[:16])


@dataclass(frozen=True, slots=True)
class MirrorServices:
    """The services that every request to a mirror needs."""

    pipeline: Pipeline
    outbound: OutboundClient
    sealer: SessionSealer
    requests: ServerRequests
    tasks: Tasks
    streams: OpenStreams
    times: CallTimes
    running: RunningCalls
    approvals: Approvals
    input_rules: InputRequestRules


SHORT_TIMES = Timeouts(first_byte=10.0, idle=10.0, total=10.0)
_BOTH = b"application/json, text/event-stream"
_JSON = (b"content-type", b"application/json")
_FORWARDED_HEADERS = (b"traceparent", b"tracestate", messages.VERSION)
_ROUTING = (messages.METHOD, messages.NAME)
_TRACES = {b"traceparent": is_trace_parent, b"tracestate": is_trace_state}


class MirrorCall:
    """One request, from its decision to its answer."""

    session: bytes | None = None
    tool: str | None = None
    part: Part | None = None
    _capabilities: object = None
    _features: ClientFeatures | None = None
    _opened_related = False

    def __init__(
        self, services: MirrorServices, exchange: Exchange, view: View, slug: str, message: Message
    ) -> None:
        self.services = services
        self.exchange = exchange
        self.view = view
        """The view when the request arrived."""
        self.slug = slug
        self.message = message

    @property
    def features(self) -> ClientFeatures:
        """The client's features, declared with each request (2026-07-28) or in ``initialize``."""
        if self._features is None:
            self._features = messages.client_features(self._capabilities)
        return self._features

    async def run(self, method: Method) -> None:
        """Decide, admit, forward, answer."""
        message, exchange, view = self.message, self.exchange, self.view
        if message.method == "tools/call":
            additional = None
            self.tool, arguments = messages.call_parameters(message, tasks=True)
        else:
            arguments, additional = (
                messages.named_arguments(method, message),
                messages.prompt_arguments(message),
            )
            self.part = messages.used_part(method, message)
        if message.modern or message.method == "initialize":
            self._declare()
        resumed, before = None, results.FIRST_ROUND
        if "requestState" in message.params:
            resumed = await self.services.approvals.resume(exchange, message, view)
            before = results.open_state(message, view, self.slug, self.services.sealer)
        self._open_related(view.servers.get(self.slug))
        client = messages.read_client(exchange, message)
        access = AccessCheck(
            method.action,
            self.slug,
            exchange.address,
            self.tool,
            arguments,
            message.method == "tools/list",
            self.part,
            message.method in messages.INTRODUCING,
            None if resumed is None else resumed.refusal,
            messages.caller_program(client),
            partial(exceeds_approval, message, before),
        )
        request = GatewayRequest(
            exchange,
            view,
            access,
            message.method,
            partial(self._check_use, None if arguments is not None else method.names, before),
            client,
            additional,
            message.reason,
            before.continues,
            messages.bound_content(message),
        )
        listens = message.method == "subscriptions/listen"
        if listens:
            self.services.streams.open(exchange, view)
        try:
            async for call in self.services.pipeline.admitted(request):
                async with call:
                    call.outcome = await self._forward(call)
        except Denied as denied:
            await self._answer_denied(denied, resumed)
        finally:
            if listens:
                self.services.streams.close(view)

    def _check_use(self, not_text: str | None, before: Round, server: Server, target: UpstreamTarget) -> None:
        """Refuse also a name or URI that is not a string, and a foreign state. Only callers with access see this."""
        if not_text is not None:
            raise refusals.invalid_params(f"{not_text} must be a string.", self.message.modern)
        if before is not results.FIRST_ROUND:
            before.check()
        self._check(server, target)

    def _declare(self) -> None:
        """Reduce the client capabilities, which modern requests and ``initialize`` declare, to the supported ones."""
        message = self.message
        if message.modern:
            meta, key = message.params["_meta"], messages.CAPABILITIES_KEY
            self._capabilities = meta[key]
            if meta[key]:
                meta[key] = messages.client_capabilities(meta[key], modern=True)
            if message.method == "subscriptions/listen" and not isinstance(
                message.params.get("notifications"), dict
            ):
                raise refusals.invalid_params("notifications must be an object.", modern=True)
        else:
            if not isinstance(message.params.get("protocolVersion"), str):
                raise refusals.invalid_params("protocolVersion must be a string.", modern=False)
            message.params["capabilities"] = messages.client_capabilities(message.params.get("capabilities"))
            self._capabilities = message.params["capabilities"]

    async def run_in_session(self, access: AccessCheck, http_method: str) -> None:
        """Decide and forward a message under its session's admission. Only a denial writes a row."""

        def check(server: Server, target: UpstreamTarget) -> None:
            self._open_related(server)
            self._check(server, target)

        method = self.message.method or "response"
        request = GatewayRequest(self.exchange, self.view, access, method, check)
        try:
            async for call in self.services.pipeline.decide_fresh(request):
                async with call:
                    call.outcome = await self._forward_in_session(http_method, call)
        except Denied:
            raise refusals.no_such_server() from None

    def _check(self, server: Server, target: UpstreamTarget) -> None:
        """Refuse an era that the upstream does not support, and a session of another caller."""
        message = self.message
        offered = target.protocol_versions or messages.NEWEST_FIRST
        if message.modern:
            if message.version not in offered:
                raise refusals.unsupported_version(message.version or "", offered)
            tool = None if self.tool is None else server.tools.get(self.tool)
            if tool is not None and tool.header_schema is not None:
                messages.check_parameter_headers(
                    self.exchange, tool.header_schema, message.params.get("arguments")
                )
            return
        handshakes = results.handshake_versions(offered)
        if message.method == "initialize":
            requested = message.params["protocolVersion"]
            if not handshakes:
                raise refusals.unsupported_version(requested, offered)
            if requested not in handshakes:
                message.params["protocolVersion"] = handshakes[0]
            return
        if not handshakes or (message.version is not None and message.version not in handshakes):
            raise refusals.unsupported_version(message.version or "2025-03-26", offered)
        sealed = self.exchange.headers.get(SESSION)
        if sealed is not None:
            opened = self.services.sealer.open_session(self.view.token.id, server.id, sealed)
            if opened is None:
                raise refusals.no_such_session()
            self.session, self._features = opened

    async def _forward(self, call: InFlightCall) -> str:
        message, services, target = self.message, self.services, call.target
        times = services.times.call
        if message.method == "subscriptions/listen":
            body, times = self._listen_body(call), services.times.listen
        else:
            body = strict_json.dumps(covered_body(message)) if call.approved else message.serialize()
        # Only calls in a session can be canceled by id.
        key = None
        if self.session is not None and message.id is not None:
            key = self.exchange.headers[SESSION], message.id
            services.running.begin(*key, call)
        try:
            with ClientWatch(self.exchange, call, message.modern) as watch:
                # mutation: call_sent
                response = await services.outbound.request(
                    "POST",
                    target.url,
                    self._headers(target, call),
                    body,
                    timeouts=times,
                    before_send=call.may_start,
                    caller=call.view.token.identity.id.int,
                )
                try:
                    return await self._answer(response, watch, call)
                finally:
                    response.close()
        finally:
            if key is not None:
                services.running.end(*key, call)

    def _listen_body(self, call: InFlightCall) -> bytes:
        """Return a ``subscriptions/listen`` for only the notifications that the token may receive."""
        params = self.message.params
        wanted = messages.allowed_notifications(params["notifications"], call.names)
        task_ids = self._tasks(call).open_all(params["notifications"].get("taskIds"))
        if task_ids:
            wanted["taskIds"] = task_ids
        return strict_json.dumps({**self.message.body, "params": {**params, "notifications": wanted}})

    def _rewrite(self, message: Message, call: InFlightCall) -> Rewrite:
        services = self.services

        def rewrite(result: dict[str, Any]) -> bool:
            if message.method == "tools/call" and message.modern and results.is_plain(result):
                return False
            store, rules = services.pipeline.store, services.input_rules
            change = results.make_rewrite(
                message, call, services.sealer, store, self._tasks, rules, lambda: self.features
            )
            return change(result)

        return rewrite

    def _check_error(self, data: Any) -> None:
        self.services.input_rules.check_error(data, self.features)

    def _tasks(self, call: InFlightCall) -> ScopedTasks:
        scope = TaskScope(call.view.token.id, call.server.id, self.session)
        return ScopedTasks(self.services.tasks, scope, self.tool)

    def _open_related(self, server: Server | None) -> None:
        """Replace the related task id in the client's message by the server's own."""
        if self._opened_related:
            return
        self._opened_related, message = True, self.message
        holder = message.body.get("result") if message.is_response else message.params
        meta = holder.get("_meta") if isinstance(holder, dict) else None
        if isinstance(meta, dict) and RELATED in meta:
            if server is None:
                del meta[RELATED]
            else:
                self.services.tasks.open_related(self.view.token.id, server.id, meta)

    async def _answer(self, response: OutboundResponse, watch: ClientWatch, call: InFlightCall) -> str:
        message, session, secrets = self.message, self.session, target_secrets(call.target)
        if response.status != 200:
            raise await refuse_status(response, secrets)
        rewrite: Rewrite = results.refuse_input_requests
        if message.modern or message.method != "tools/call" or "task" in message.params:
            rewrite = self._rewrite(message, call)
        answer = Answer(message.id, secrets, rewrite, self._check_error)
        if message.method == "initialize":
            session = response.header(SESSION)
            answer.headers = self._session_headers(call, session)
        media = response.header(b"content-type") or b""
        if media != b"application/json":
            media = media.partition(b";")[0].strip().lower()
        if media == b"application/json":
            raw = await response.read()
            large = len(raw) > MIN_LARGE_BYTES and is_large(raw)
            body, outcome = await off_loop(answer.read, raw) if large else answer.read(raw)
            await self.exchange.answer(200, body, answer.headers)
            return outcome
        if media != b"text/event-stream":
            raise refusals.bad_upstream(
                "The server behind the gateway answered with a content type that is not MCP's."
            )
        origin = Origin(message.method, self.tool, message.id, call.id, self.part)
        stream_filter = MirrorStreamFilter(self._stream_context(call, session), origin)
        reply = None if message.modern else self._replier(call, session)
        outcome = "unknown"
        try:
            outcome = await Relay(self.exchange, answer, watch, stream_filter, reply).run(response)
            return outcome
        finally:
            if outcome != "unknown" or not watch.resumable:
                stream_filter.close()

    def _stream_context(self, call: InFlightCall, session: bytes | None) -> StreamContext:
        services, exchange = self.services, self.exchange
        return StreamContext(
            services.pipeline.store,
            services.sealer,
            services.requests,
            services.tasks,
            services.input_rules,
            self.features,
            call.view,
            call.server,
            session,
            exchange.address,
            exchange.client,
            self.message.modern,
        )

    def _replier(self, call: InFlightCall, session: bytes | None) -> AnswerUpstream:
        """Make the function that answers server requests that are not forwarded, in their session."""
        headers = [_JSON, (b"accept", _BOTH), self.services.outbound.loops.header()]
        if self.message.version is not None:
            headers.append((messages.VERSION, self.message.version.encode()))
        if session is not None:
            headers.append((SESSION, session))

        async def reply(body: bytes) -> None:
            target = await self._current_target(call)
            # If the call may not continue, it is about to be cut, so it must not be decided again.
            with contextlib.suppress(NotForwarded):
                sent = await self.services.outbound.request(
                    "POST",
                    target.url,
                    [*headers, *target.headers],
                    body,
                    timeouts=SHORT_TIMES,
                    before_send=call.may_continue,
                )
                sent.close()

        return reply

    async def _current_target(self, call: InFlightCall) -> UpstreamTarget:
        """Return the target with the current access token. A stream may outlive the token that it started with."""
        if call.target.client is None:
            return call.target
        try:
            return await self.services.pipeline.target(call.server, call.view.token)
        except (Refused, StoreUnavailable):
            return call.target

    def _headers(self, target: UpstreamTarget, call: InFlightCall | None = None) -> list[tuple[bytes, bytes]]:
        """Return the headers to forward, by allowlist: never the client's credential, cookies or addresses."""
        theirs, approved = self.exchange.headers, call is not None and call.approved
        headers = [_JSON, (b"accept", _BOTH if approved else theirs.get(b"accept", _BOTH))]
        for name in _FORWARDED_HEADERS:
            value = theirs.get(name)
            if value is None:
                continue
            # An approved call does not forward a malformed tracing header.
            if approved and name in _TRACES and not _TRACES[name](value.decode("latin-1")):
                continue
            headers.append((name, value))
        headers.append(self.services.outbound.loops.header(None if approved else theirs.get(VIA)))
        if self.session is not None:
            headers.append((SESSION, self.session))
        if self.message.modern:
            routing = [(name, theirs[name]) for name in _ROUTING if name in theirs]
            if self.tool is not None and call is not None:
                tool = call.server.tools.get(self.tool)
                if tool is not None and tool.header_schema is not None:
                    routing += messages.parameter_headers(
                        tool.header_schema, self.message.params.get("arguments")
                    )
            if target.headers:
                own = dict(target.headers)
                routing = [header for header in routing if header[0] not in own]
            headers += routing
        headers += target.headers
        return headers

    def _session_headers(self, call: InFlightCall, session: bytes | None) -> HeaderList:
        if session is None:
            return ()
        sealed = self.services.sealer.seal_session(call.view.token.id, call.server.id, session, self.features)
        if len(sealed) > MAX_SEALED:
            raise refusals.bad_upstream("The server behind the gateway sent a session id that is too long.")
        return ((SESSION, sealed),)

    async def _forward_in_session(self, http_method: str, call: FreshCall | InFlightCall) -> str:
        body = self.message.serialize() if http_method == "POST" else b""
        response = await self.services.outbound.request(
            http_method,
            call.target.url,
            self._headers(call.target),
            body,
            timeouts=SHORT_TIMES,
            before_send=call.may_start,
            caller=call.view.token.identity.id.int,
        )
        try:
            if response.status == 405 and http_method == "DELETE":
                raise refusals.not_allowed("Clients cannot end sessions of this server.")
            if not 200 <= response.status < 300:
                raise await refuse_status(response, target_secrets(call.target))
            await response.read()
        finally:
            response.close()
        await self.exchange.answer(202 if http_method == "POST" else 204)
        return "success"

    async def _answer_denied(self, denied: Denied, resumed: ResumedRequest | None) -> None:
        """Answer a denied request. What is out of reach looks as if it did not exist."""
        view, modern, address = denied.view, self.message.modern, self.exchange.address
        at = self.services.pipeline.store.now()
        if not isinstance(denied, ApprovalNeeded):
            if not reaches(view, self.slug, at, address):
                raise refusals.no_such_server()
            if self.tool is None and (
                self.part is None or not reaches(view, self.slug, at, address, self.part)
            ):
                # The same answer as that of a server without this part.
                raise refusals.unknown_method(modern)
            if self.tool is not None and denied.decision.reason_code in HIDDEN_REASONS:
                raise refusals.unknown_tool(self.tool, modern)
        supports_url = ClientFeatures.URL in self.features
        await self.services.approvals.answer(
            self.exchange, self.message, denied, resumed, supports_url=supports_url
        )
