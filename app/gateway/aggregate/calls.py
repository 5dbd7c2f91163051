"""A request on ``/mcp`` to one server, translated to the server's era and back."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from mcp.shared.inbound import ERROR_CODE_HTTP_STATUS
from mcp_types import LOG_LEVEL_META_KEY, URL_ELICITATION_REQUIRED

from app.admission.store import UpstreamTarget
from app.domain.objects import Server
from app.gateway.aggregate.routes import Route
from app.gateway.aggregate.sessions import (
    MAX_REQUESTED_URI,
    Connection,
    SessionSettingsCache,
    UpstreamSessions,
)
from app.gateway.approvals import LOG_LEVELS, covered_meta
from app.gateway.pipeline import InFlightCall
from app.gateway.relay import FORWARDED_NOTIFICATIONS
from app.gateway.results import Round, make_private, pass_input_requests
from app.gateway.sealed_ids import SessionSealer
from app.gateway.wire import messages, refusals
from app.gateway.wire.answers import (
    Answer,
    InputRequestRules,
    dump,
    fail_input_request,
    remove_gateway_members,
    target_secrets,
)
from app.gateway.wire.exchange import ClientWatch, Exchange
from app.gateway.wire.messages import ClientFeatures, Message
from app.gateway.wire.refusals import CredentialRefused, Refused
from app.lib.event_loop import off_loop
from app.lib.sse import encode_event
from app.outbound.http import VIA, NotForwarded, UpstreamError
from app.outbound.mcp.connection import LegacySession, ModernConnection
from app.outbound.mcp.exchange import McpUpstreamError, Notification

_ENVELOPE_PREFIX = "io.modelcontextprotocol/"


@dataclass(slots=True)
class Caller:
    """The request of a client, and what the client supports."""

    exchange: Exchange
    message: Message
    session_id: UUID | None

    log_level: str | None = None
    """The minimum log level that the client set, in the request or for its session."""
    features: ClientFeatures = ClientFeatures.NOTHING
    """The features that the client declared, in the request or for its session."""

    def accepts(self, notification: dict[str, Any]) -> bool:
        """Whether to forward a notification that arrived with the answer."""
        method, params = notification.get("method"), notification.get("params")
        if method != "notifications/message":
            return isinstance(method, str) and method in FORWARDED_NOTIFICATIONS
        if self.log_level is None:
            # Until 2025-11-25, a server chooses the level if the client sets none.
            return not self.message.modern
        level = params.get("level") if isinstance(params, dict) else None
        return level in LOG_LEVELS and LOG_LEVELS.index(level) >= LOG_LEVELS.index(self.log_level)


def requested_log_level(message: Message) -> str | None:
    """Return the log level of a modern request; ``None`` for an unknown level."""
    meta = message.params.get("_meta")
    level = meta.get(LOG_LEVEL_META_KEY) if message.modern and isinstance(meta, dict) else None
    return level if level in LOG_LEVELS else None


@dataclass(frozen=True, slots=True)
class AggregateServices:
    """The services that every request to a server needs."""

    upstreams: UpstreamSessions
    sealer: SessionSealer
    session_settings: SessionSettingsCache
    input_rules: InputRequestRules


class AggregateCall:
    """One request. Its answer is an event stream if the server sends progress or log messages."""

    _reopened = False
    _same_rounds = False
    """Server and client are both modern, so input requests can be forwarded."""
    _is_large = False

    def __init__(self, services: AggregateServices, caller: Caller, route: Route, before: Round) -> None:
        self._services = services
        self._caller = caller
        self._exchange = caller.exchange
        self._message = caller.message
        self._route = route
        self._before = before

    def check(self, server: Server, _target: UpstreamTarget) -> None:
        """Refuse, before admission, headers that differ from the arguments, and a foreign state."""
        if not self._message.modern:
            return
        tool = None if self._route.tool is None else server.tools.get(self._route.tool)
        if tool is not None and tool.header_schema is not None:
            messages.check_parameter_headers(self._exchange, tool.header_schema, self._route.arguments)
        self._before.check()

    async def forward(self, call: InFlightCall) -> str:
        """Forward the request and return the outcome.

        Raises ``Refused``, ``UpstreamError``, ``NotForwarded``, ``ForbiddenUrl``.
        """
        modern, key = self._message.modern, (self._caller.session_id or call.view.token.id, call.server.id)
        answer = Answer(self._message.id, target_secrets(call.target))
        try:
            with ClientWatch(self._exchange, call, modern) as watch:
                async with self._services.upstreams.use(
                    key,
                    call.target,
                    modern=modern,
                    before_send=call.may_start,
                    before_next=call.may_continue,
                    caller=call.view.token.identity.id.int,
                    log_level=None if modern else self._caller.log_level,
                ) as connection:
                    result = await self._ask(connection, call, answer, watch)
        except McpUpstreamError as error:
            if error.kind == "session_lost" and not self._reopened:
                # The upstream did not accept the call, so it may be sent once more, on a new admission.
                self._reopened = True
                raise NotForwarded from None
            if error.kind == "rpc":
                return await self._answer_error(error, answer)
            raise translate_upstream_error(error) from None

        body, outcome = (
            await off_loop(self._finish, result, call, answer)
            if self._is_large
            else self._finish(result, call, answer)
        )
        await self._exchange.answer(200, body)
        return outcome

    def _finish(self, result: dict[str, Any], call: InFlightCall, answer: Answer) -> tuple[bytes, str]:
        message = {"jsonrpc": "2.0", "id": self._message.id, "result": self._translated(result, call)}
        return answer.finish(dump(message), message)

    async def _ask(
        self, connection: Connection, call: InFlightCall, answer: Answer, watch: ClientWatch
    ) -> dict[str, Any]:
        message, declares = self._message, None
        self._same_rounds = message.modern and isinstance(connection, ModernConnection)
        if self._same_rounds and message.method in messages.INPUT_METHODS:
            declared = message.params["_meta"][messages.CAPABILITIES_KEY]
            declares = messages.keep_flags(messages.client_capabilities(declared))
        via = None if call.approved else self._exchange.headers.get(VIA)
        stream = connection.stream(
            message.method,
            self._params(connection, approved=call.approved),
            before_send=call.may_start,
            before_next=call.may_continue,
            extra_headers=(*self._parameters(call, connection), self._services.upstreams.loops.header(via)),
            declares=declares,
        )
        try:
            async for item in stream:
                if not isinstance(item, Notification):
                    self._is_large = item.is_large
                    return dict(item.result)
                if self._caller.accepts(item.message):
                    watch.streaming = True
                    await self._exchange.stream(encode_event(await _encode_notification(item, answer)))
        finally:
            await stream.aclose()
        raise refusals.bad_upstream("The server behind the gateway ended the stream without an answer.")

    def _parameters(self, call: InFlightCall, connection: Connection) -> messages.Headers:
        tool = None if self._route.tool is None else call.server.tools.get(self._route.tool)
        if tool is None or tool.header_schema is None or not isinstance(connection, ModernConnection):
            return ()
        headers = messages.parameter_headers(tool.header_schema, self._route.arguments)
        own = {name for name, _ in call.target.headers}
        return tuple((name, value) for name, value in headers if name not in own)

    def _params(self, connection: Connection, *, approved: bool) -> dict[str, Any]:
        """Return the parameters with the server's own names, without the caller's envelope in ``_meta``."""
        params = dict(self._route.params)
        params.pop("requestState", None)
        if not self._same_rounds:
            params.pop("inputResponses", None)
        if self._before.state is not None and self._same_rounds:
            params["requestState"] = self._before.state
        meta = params.pop("_meta", None)
        kept: dict[str, Any] = {}
        if approved:
            kept = covered_meta(meta)
        elif isinstance(meta, dict):
            kept = {key: value for key, value in meta.items() if not key.startswith(_ENVELOPE_PREFIX)}
        if self._caller.log_level is not None and isinstance(connection, ModernConnection):
            kept[LOG_LEVEL_META_KEY] = self._caller.log_level
        return {**params, "_meta": kept} if kept else params

    def _translated(self, result: dict[str, Any], call: InFlightCall) -> dict[str, Any]:
        """Translate a result to the caller's era, and to the names on ``/mcp``."""
        if result.get("resultType") == "input_required":
            if self._same_rounds:
                sealer, rules = self._services.sealer, self._services.input_rules
                pass_input_requests(result, self._message, call, sealer, rules, self._caller.features)
                return result
            if self._route.tool is None:
                raise refusals.bad_upstream(
                    "The server asked for input from the user, which is not supported here."
                )
            fail_input_request(result)
        # A complete result must not contain input requests.
        result.pop("inputRequests", None)
        if self._route.rename is not None:
            self._route.rename(result, call.server.slug)
        if not self._message.modern:
            result.pop("resultType", None)
            return result
        result.setdefault("resultType", "complete")
        if self._message.method == "resources/read":
            make_private(result)
        return result

    async def _answer_error(self, error: McpUpstreamError, answer: Answer) -> str:
        code = error.code if error.code is not None else -32603
        if code == URL_ELICITATION_REQUIRED:
            self._services.input_rules.check_error(error.data, self._caller.features)
        if self._message.modern and code == refusals.RESOURCE_NOT_FOUND:
            code = refusals.INVALID_PARAMS
        message: dict[str, Any] = {
            "jsonrpc": "2.0",
            "id": self._message.id,
            "error": {"code": code, "message": error.message},
        }
        if error.data is not None:
            message["error"]["data"] = error.data
            remove_gateway_members(dump(message), message)
        status = ERROR_CODE_HTTP_STATUS.get(code, 200) if self._message.modern else 200
        body = answer.redact(dump(message), message)
        await self._exchange.answer(status, body)
        return "error"


async def _encode_notification(notification: Notification, answer: Answer) -> bytes:
    """Encode a notification for the client. Raises ``Refused``."""
    message = notification.message

    def write() -> bytes:
        return answer.clean_message(dump(message), message)

    return await off_loop(write) if notification.is_large else write()


def translate_upstream_error(error: McpUpstreamError) -> Exception:
    """Return the exception for the pipeline: a failed upstream request, or the answer to refuse with."""
    if error.kind in {"unreachable", "timeout"}:
        kind = "timeout" if error.kind == "timeout" else "closed"
        return UpstreamError(kind, error.message, may_have_been_sent=error.may_have_been_sent)  # type: ignore[arg-type]
    if error.kind == "busy" or error.kind == "unavailable":  # noqa: PLR1714  the type checker reads it this way
        return UpstreamError(
            error.kind, error.message, may_have_been_sent=False, retry_after_s=error.retry_after_s
        )
    if error.kind == "too_large":
        return refusals.bad_upstream("The answer of the server behind the gateway is too large.")
    if error.kind == "loop":
        return refusals.upstream_loop()
    if error.status == 401:
        return CredentialRefused()
    if error.status == 429:
        return Refused(503, -32603, "The server behind the gateway is busy.", headers=refusals.RETRY_SOON)
    return refusals.bad_upstream("The server behind the gateway did not answer as an MCP server does.")


SUBSCRIBING = frozenset({"resources/subscribe", "resources/unsubscribe"})


class AggregateSubscription(AggregateCall):
    """A subscribe or unsubscribe request. If it succeeds, the session's settings are updated."""

    def check(self, server: Server, target: UpstreamTarget) -> None:
        """Refuse also a URI that is too long."""
        super().check(server, target)
        if len(self._message.params["uri"]) > MAX_REQUESTED_URI:
            raise refusals.invalid_params(
                f"uri may have at most {MAX_REQUESTED_URI} characters.", self._message.modern
            )

    async def _ask(
        self, connection: Connection, call: InFlightCall, answer: Answer, watch: ClientWatch
    ) -> dict[str, Any]:
        subscribes = self._message.method == "resources/subscribe"
        # A modern server has subscriptions only in streams.
        if isinstance(connection, LegacySession):
            try:
                await super()._ask(connection, call, answer, watch)
            except McpUpstreamError as error:
                # The subscription may be in another worker's session with the server.
                if subscribes or error.kind != "rpc":
                    raise
        session_id, token_id = self._caller.session_id, call.view.token.id
        if session_id is not None:
            uri = str(self._message.params["uri"])
            if subscribes:
                await self._services.session_settings.subscribe(session_id, token_id, uri)
            else:
                await self._services.session_settings.unsubscribe(session_id, token_id, uri)
        return {}
