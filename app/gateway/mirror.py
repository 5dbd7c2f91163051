"""``/mcp/{slug}``: one upstream, its own eras, nothing translated."""

from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

from app.domain.access import Server
from app.gateway.answers import Answer, Rewrite, answer_json, refuse_input, refuse_status, secrets_of
from app.gateway.catalogue import carried_capabilities, filter_tools, handshake_versions, make_private
from app.gateway.envelope import (
    CAPABILITIES_KEY,
    METHOD,
    NAME,
    NEWEST_FIRST,
    SESSION,
    VERSION,
    Message,
    read_message,
    read_version,
)
from app.gateway.http import Exchange, result_body
from app.gateway.parameter_headers import check_parameters, sent_parameters
from app.gateway.pipeline import HIDDEN_REASONS, Ask, Denied, Passed, Pipeline, denial_text, reaches
from app.gateway.ports import SyncRequests, UpstreamTarget, View
from app.gateway.questions import call_parameters, client_of
from app.gateway.refusals import (
    Refused,
    bad_upstream,
    invalid_params,
    no_such_server,
    no_such_session,
    unknown_method,
    unknown_tool,
    unsupported_version,
)
from app.gateway.relay import AnswerUpstream, Relay, Watch
from app.gateway.sessions import MAX_SEALED, SessionSealer
from app.kit.outbound import OutboundClient, OutboundResponse, Timeouts

CALL_TIMES = Timeouts(first_byte=300.0, idle=300.0, total=3600.0)
SHORT_TIMES = Timeouts(first_byte=10.0, idle=10.0, total=10.0)

_BOTH = b"application/json, text/event-stream"
_TRACE = (b"traceparent", b"tracestate")
_MODERN_ACTIONS = {
    "server/discover": "mcp.discover",
    "tools/list": "tools.list",
    "tools/call": "tool.call",
}
_LEGACY_ACTIONS = {"initialize": "mcp.initialize", "tools/list": "tools.list", "tools/call": "tool.call"}
_CARRIED_NOTIFICATIONS = frozenset({"notifications/initialized", "notifications/cancelled"})


@dataclass(frozen=True, slots=True)
class Mirror:
    """Serves every path ``/mcp/{slug}``."""

    pipeline: Pipeline
    outbound: OutboundClient
    sealer: SessionSealer
    sync_requests: SyncRequests
    body_limit: int

    async def serve(self, exchange: Exchange, view: View, slug: str) -> None:
        """Answer one request of a live token."""
        if exchange.method == "DELETE":
            await self._end_session(exchange, view, slug)
            return
        message = await read_message(exchange, self.body_limit)
        if message.id is None:
            await self._notify(exchange, view, slug, message)
            return
        if message.method == "ping" and not message.modern:
            await self._pong(exchange, view, slug)
            return
        action = (_MODERN_ACTIONS if message.modern else _LEGACY_ACTIONS).get(message.method)
        if action is None:
            raise unknown_method(message.modern)
        await MirrorCall(self, exchange, slug, message).run(view, action)

    async def _pong(self, exchange: Exchange, view: View, slug: str) -> None:
        """A ping asks whether the session's other end is there, and that is us."""
        server = view.servers.get(slug)
        if SESSION in exchange.headers and (server is None or self._unseal(exchange, view, server) is None):
            raise no_such_session()
        await exchange.answer(200, result_body(exchange.id, {}))

    def _unseal(self, exchange: Exchange, view: View, server: Server) -> bytes | None:
        sealed = exchange.headers.get(SESSION)
        return None if sealed is None else self.sealer.open(view.token.id, server.id, sealed)

    async def _notify(self, exchange: Exchange, view: View, slug: str, message: Message) -> None:
        """Pass on the two notifications that are carried, inside the caller's own session alone."""
        if message.modern or message.method not in _CARRIED_NOTIFICATIONS or SESSION not in exchange.headers:
            await exchange.answer(202)
            return
        call = MirrorCall(self, exchange, slug, message)
        await call.ride(view, Ask("mcp.notification", message.method, slug, exchange.address), "POST")

    async def _end_session(self, exchange: Exchange, view: View, slug: str) -> None:
        version, modern = read_version(exchange)
        if modern:
            raise Refused(405, -32600, "There are no sessions to delete.", headers=((b"allow", b"POST"),))
        if SESSION not in exchange.headers:
            raise Refused(400, -32600, "The Mcp-Session-Id header is missing.")
        message = Message({}, "DELETE", {}, None, modern, version)
        call = MirrorCall(self, exchange, slug, message)
        await call.ride(view, Ask("mcp.end_session", "DELETE", slug, exchange.address), "DELETE")


class MirrorCall:
    """One request on its way through a mirror."""

    __slots__ = ("exchange", "message", "mirror", "session", "slug", "tool")

    def __init__(self, mirror: Mirror, exchange: Exchange, slug: str, message: Message) -> None:
        self.mirror = mirror
        self.exchange = exchange
        self.slug = slug
        self.message = message
        self.session: bytes | None = None
        self.tool: str | None = None

    async def run(self, view: View, action: str) -> None:
        """Decide, admit, forward, answer."""
        message, exchange = self.message, self.exchange
        arguments: dict[str, Any] | None = None
        if message.method == "tools/call":
            self.tool, arguments = call_parameters(message)
        if message.modern:
            # What the client can do for the server is not carried yet, so the server is told that it can nothing.
            message.params["_meta"][CAPABILITIES_KEY] = {}
        elif message.method == "initialize":
            if not isinstance(message.params.get("protocolVersion"), str):
                raise invalid_params("protocolVersion must be a string.", modern=False)
            message.params["capabilities"] = {}
        ask = Ask(
            action,
            message.method,
            self.slug,
            exchange.address,
            self.tool,
            arguments,
            lists=message.method == "tools/list",
        )
        try:
            await self.mirror.pipeline.run(
                exchange, view, ask, self._forward, check=self._check, client=client_of(exchange, message)
            )
        except Denied as denied:
            await self._answer_denied(denied)

    async def ride(self, view: View, ask: Ask, http_method: str) -> None:
        """Pass on what rides on its session's admission: no row of its own, unless it is denied.

        With no admission to find a stale view out, the view must be one that was read after the request came.
        """
        view = await self.mirror.pipeline.door.refresh(self.exchange, view)
        snapshots = self.mirror.pipeline.snapshots
        forward = partial(self._send_along, http_method)
        if ask.redecide(view, snapshots.now()).allowed:
            server = view.servers[self.slug]
            target = await self.mirror.pipeline.target(server, view.token)
            self._check(view, server, target)
            await self.mirror.pipeline.without_record(forward(view, target))
            return
        try:
            await self.mirror.pipeline.run(
                self.exchange, view, ask, lambda passed: forward(passed.view, passed.to), check=self._check
            )
        except Denied:
            raise no_such_server() from None

    def _check(self, view: View, server: Server, target: UpstreamTarget) -> None:
        """Refuse an era that this upstream does not speak, and a session that is not the caller's."""
        message = self.message
        offered = target.protocol_versions or NEWEST_FIRST
        if message.modern:
            if message.version not in offered:
                raise unsupported_version(message.version or "", offered)
            if self.tool is not None:
                check_parameters(self.exchange, server.tools.get(self.tool), message.params.get("arguments"))
            return
        handshakes = handshake_versions(offered)
        if message.method == "initialize":
            requested = message.params["protocolVersion"]
            if not handshakes:
                raise unsupported_version(requested, offered)
            if requested not in handshakes:
                message.params["protocolVersion"] = handshakes[0]
            return
        if not handshakes or (message.version is not None and message.version not in handshakes):
            raise unsupported_version(message.version or "2025-03-26", offered)
        sealed = self.exchange.headers.get(SESSION)
        if sealed is not None:
            self.session = self.mirror.sealer.open(view.token.id, server.id, sealed)
            if self.session is None:
                raise no_such_session()

    async def _forward(self, passed: Passed) -> str:
        target, message = passed.to, self.message
        with Watch(self.exchange, passed.flight, message.modern) as watch:
            response = await self.mirror.outbound.request(
                "POST",
                target.url,
                self._headers(target),
                message.serialised(),
                timeouts=CALL_TIMES,
                before_send=passed.flight.may_start,
            )
            try:
                secrets = secrets_of(target)
                if response.status != 200:
                    raise await refuse_status(response, secrets)
                answer = Answer(message.id, secrets, self._rewrite(passed, target))
                if message.method == "initialize":
                    answer.headers = self._sealed_session(passed, response)
                return await self._answer(response, answer, watch, target)
            finally:
                response.close()

    async def _answer(
        self, response: OutboundResponse, answer: Answer, watch: Watch, target: UpstreamTarget
    ) -> str:
        media = (response.header(b"content-type") or b"").partition(b";")[0].strip().lower()
        if media == b"application/json":
            return await answer_json(self.exchange, response, answer)
        if media != b"text/event-stream":
            raise bad_upstream(
                "The server behind the gateway answered with a content type that is not MCP's."
            )
        reply = None if self.message.modern else self._replier(response, target)
        return await Relay(self.exchange, answer, watch, reply).run(response)

    def _replier(self, response: OutboundResponse, target: UpstreamTarget) -> AnswerUpstream:
        """Answers the server's own requests, in the session that they came in."""
        session = self.session
        if self.message.method == "initialize":
            session = response.header(b"mcp-session-id")
        headers = [(b"content-type", b"application/json"), (b"accept", _BOTH)]
        if self.message.version is not None:
            headers.append((VERSION, self.message.version.encode()))
        if session is not None:
            headers.append((SESSION, session))
        headers += target.headers

        async def reply(body: bytes) -> None:
            sent = await self.mirror.outbound.request("POST", target.url, headers, body, timeouts=SHORT_TIMES)
            sent.close()

        return reply

    def _headers(self, target: UpstreamTarget) -> list[tuple[bytes, bytes]]:
        """By allow-list: never the client's credential, cookies or addresses."""
        theirs = self.exchange.headers
        headers = [(b"content-type", b"application/json"), (b"accept", theirs.get(b"accept", _BOTH))]
        headers += [(name, theirs[name]) for name in _TRACE if name in theirs]
        if self.message.version is not None:
            headers.append((VERSION, theirs[VERSION]))
        if self.session is not None:
            headers.append((SESSION, self.session))
        if self.message.modern:
            own = {name for name, _ in target.headers}
            routing = [(name, theirs[name]) for name in (METHOD, NAME) if name in theirs]
            headers += [
                (name, value)
                for name, value in (*routing, *sent_parameters(self.exchange))
                if name not in own
            ]
        headers += target.headers
        return headers

    def _sealed_session(self, passed: Passed, response: OutboundResponse) -> tuple[tuple[bytes, bytes], ...]:
        session = response.header(SESSION)
        if session is None:
            return ()
        sealed = self.mirror.sealer.seal(passed.view.token.id, passed.on.id, session)
        if len(sealed) > MAX_SEALED:
            raise bad_upstream("The server behind the gateway gave a session id that is too long.")
        return ((SESSION, sealed),)

    def _rewrite(self, passed: Passed, target: UpstreamTarget) -> Rewrite | None:
        method = self.message.method
        if method == "tools/call":
            return refuse_input if self.message.modern else None

        def rewrite(result: dict[str, Any]) -> bool:
            if method == "tools/list":
                filter_tools(result, passed.on, passed.names, self.mirror.sync_requests)
            else:
                result["capabilities"] = carried_capabilities(result.get("capabilities"))
                self._check_versions(result, target)
            if self.message.modern:
                make_private(result)
            return True

        return rewrite

    def _check_versions(self, result: dict[str, Any], target: UpstreamTarget) -> None:
        offered = target.protocol_versions or NEWEST_FIRST
        if self.message.modern:
            spoken = result.get("supportedVersions")
            both = [version for version in spoken if version in offered] if isinstance(spoken, list) else []
            result["supportedVersions"] = both or [self.message.version]
        elif result.get("protocolVersion") not in offered:
            raise bad_upstream("The server behind the gateway speaks another protocol version than it did.")

    async def _send_along(self, http_method: str, view: View, target: UpstreamTarget) -> str:
        body = self.message.serialised() if http_method == "POST" else b""
        response = await self.mirror.outbound.request(
            http_method, target.url, self._headers(target), body, timeouts=SHORT_TIMES
        )
        try:
            if response.status == 405 and http_method == "DELETE":
                raise Refused(
                    405, -32600, "This server ends its sessions itself.", headers=((b"allow", b"POST"),)
                )
            if not 200 <= response.status < 300:
                raise await refuse_status(response, secrets_of(target))
            await response.read()
        finally:
            response.close()
        await self.exchange.answer(202 if http_method == "POST" else 204)
        return "success"

    async def _answer_denied(self, denied: Denied) -> None:
        decision, modern = denied.decision, self.message.modern
        at = self.mirror.pipeline.snapshots.now()
        if self.tool is None or not reaches(denied.view, self.slug, at, self.exchange.address):
            raise no_such_server()
        if decision.reason_code in HIDDEN_REASONS:
            raise unknown_tool(self.tool, modern)
        result: dict[str, Any] = {
            "content": [{"type": "text", "text": denial_text(decision)}],
            "isError": True,
        }
        if modern:
            result["resultType"] = "complete"
        await self.exchange.answer(200, result_body(self.message.id, result))


def refuse_http_method(modern: bool) -> NoReturn:
    """GET and the rest. Raises ``Refused`` (405)."""
    allow = b"POST" if modern else b"POST, DELETE"
    raise Refused(405, -32600, "Only POST and DELETE are taken here.", headers=((b"allow", allow),))
