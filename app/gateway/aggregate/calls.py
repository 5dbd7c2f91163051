"""One request on ``/mcp`` that is about one server: to that server, in its era, and back in the caller's."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from mcp.shared.inbound import ERROR_CODE_HTTP_STATUS
from mcp_types import LOG_LEVEL_META_KEY, URL_ELICITATION_REQUIRED

from app.admission.store import UpstreamTarget
from app.domain.objects import Server
from app.gateway.aggregate.routes import Route
from app.gateway.aggregate.sessions import LONGEST_URI, Connection, Key, Notebook, UpstreamSessions
from app.gateway.approvals import LOG_LEVELS, covered_meta
from app.gateway.pipeline import InFlightCall
from app.gateway.relay import CARRIED_NOTIFICATIONS, Watch
from app.gateway.results import FIRST_ROUND, Round, make_private, pass_questions
from app.gateway.sealed_ids import SessionSealer
from app.gateway.wire.answers import Answer, QuestionRules, dump, refuse_input, secrets_of, take_ours
from app.gateway.wire.exchange import Exchange
from app.gateway.wire.messages import (
    CAPABILITIES_KEY,
    INPUT_METHODS,
    Asks,
    Headers,
    Message,
    check_parameters,
    client_capabilities,
    flags_of,
    made_parameters,
)
from app.gateway.wire.refusals import (
    INVALID_PARAMS,
    RESOURCE_NOT_FOUND,
    RETRY_SOON,
    CredentialRefused,
    Refused,
    bad_upstream,
    invalid_params,
    is_loop,
)
from app.lib.event_loop import off_loop
from app.lib.sse import encode_event
from app.outbound.http import VIA, NotForwarded, UpstreamError
from app.outbound.mcp import LegacySession, McpUpstreamError, ModernConnection, Notification, Result

_ENVELOPE_PREFIX = "io.modelcontextprotocol/"


@dataclass(slots=True)
class Caller:
    """Whose request it is, and what it wants to hear of meanwhile."""

    exchange: Exchange
    message: Message
    session_id: UUID | None

    log_level: str | None = None
    """The least level of log messages that the client asked for, in the request or for its session."""
    asks: Asks = Asks.NOTHING
    """What the client said that it can be asked for, in the request or for its session."""

    def hears(self, notification: dict[str, Any]) -> bool:
        """Whether a notification that came with the answer is for the caller."""
        method, params = notification.get("method"), notification.get("params")
        if method != "notifications/message":
            return isinstance(method, str) and method in CARRIED_NOTIFICATIONS
        if self.log_level is None:
            # Until 2025-11-25 a server says what it likes to who asked for nothing.
            return not self.message.modern
        level = params.get("level") if isinstance(params, dict) else None
        return level in LOG_LEVELS and LOG_LEVELS.index(level) >= LOG_LEVELS.index(self.log_level)


def level_of(message: Message) -> str | None:
    """The level of log messages that a modern request asks for; one that there is not asks for none."""
    meta = message.params.get("_meta")
    level = meta.get(LOG_LEVEL_META_KEY) if message.modern and isinstance(meta, dict) else None
    return level if level in LOG_LEVELS else None


class AggregateCall:
    """Carries one request; progress and log messages on the way make the answer an event stream."""

    def __init__(
        self,
        upstreams: UpstreamSessions,
        sealer: SessionSealer,
        questions: QuestionRules,
        caller: Caller,
        route: Route,
        before: Round = FIRST_ROUND,
    ) -> None:
        self._upstreams = upstreams
        self._sealer = sealer
        self._questions = questions
        self._caller = caller
        self._exchange = caller.exchange
        self._message = caller.message
        self._route = route
        self._before = before
        self._reopened = False
        self._same_rounds = False
        """Its server asks for input as its client is asked."""
        self._is_large = False

    def check(self, server: Server, _target: UpstreamTarget) -> None:
        """Refuse, before admission, headers that say something else and a state that is not of this place."""
        if not self._message.modern:
            return
        if self._route.tool is not None:
            check_parameters(self._exchange, server.tools.get(self._route.tool), self._route.arguments)
        self._before.check()

    async def forward(self, call: InFlightCall) -> str:
        """Returns the outcome. Raises ``Refused``, ``UpstreamError``, ``NotForwarded``, ``ForbiddenUrl``."""
        key: Key = (self._caller.session_id or call.view.token.id, call.server.id)
        answer = Answer(self._message.id, secrets_of(call.target))
        try:
            with Watch(self._exchange, call, self._message.modern) as watch:
                result = await self._result(call, key, answer, watch)
        except McpUpstreamError as error:
            if error.kind == "session_lost" and not self._reopened:
                # The upstream said that it did not take the call: it may go once more, on a new admission.
                self._reopened = True
                raise NotForwarded from None
            if error.kind == "rpc":
                return await self._answer_error(error, answer)
            raise upstream_refused(error) from None

        def finish() -> tuple[bytes, str]:
            translate_error = self._translated(result, call)
            message = {"jsonrpc": "2.0", "id": self._message.id, "result": translate_error}
            return answer.finish(dump(message), message)

        body, outcome = await off_loop(finish) if self._is_large else finish()
        await self._exchange.answer(200, body)
        return outcome

    async def _result(self, call: InFlightCall, key: Key, answer: Answer, watch: Watch) -> dict[str, Any]:
        async with self._upstreams.use(
            key,
            call.target,
            modern=self._message.modern,
            before_send=call.may_start,
            before_next=call.may_go_on,
            caller=call.view.token.identity.id.int,
            log_level=None if self._message.modern else self._caller.log_level,
        ) as connection:
            return await self._ask(connection, call, answer, watch)

    async def _ask(
        self, connection: Connection, call: InFlightCall, answer: Answer, watch: Watch
    ) -> dict[str, Any]:
        self._same_rounds = self._message.modern and isinstance(connection, ModernConnection)
        stream = connection.stream(
            self._message.method,
            self._params(connection, approved=call.approved),
            before_send=call.may_start,
            before_next=call.may_go_on,
            extra_headers=(*self._parameters(call, connection), self._via(call)),
            declares=self._declared() if self._same_rounds else None,
        )
        return await self._read(stream, answer, watch)

    def _via(self, call: InFlightCall) -> tuple[bytes, bytes]:
        loops = self._upstreams.loops
        return loops.header(None if call.approved else self._exchange.headers.get(VIA))

    def _parameters(self, call: InFlightCall, connection: Connection) -> Headers:
        if self._route.tool is None or not isinstance(connection, ModernConnection):
            return ()
        found = made_parameters(call.server.tools.get(self._route.tool), self._route.arguments)
        own = {name for name, _ in call.target.headers}
        return tuple((name, value) for name, value in found if name not in own)

    def _declared(self) -> dict[str, Any] | None:
        """What the server may ask of this client: only where it can ask and be answered."""
        if self._message.method not in INPUT_METHODS:
            return None
        return flags_of(client_capabilities(self._message.params["_meta"][CAPABILITIES_KEY]))

    async def _read(
        self, stream: AsyncGenerator[Notification | Result, None], answer: Answer, watch: Watch
    ) -> dict[str, Any]:
        async with aclosing(stream):
            async for item in stream:
                if not isinstance(item, Notification):
                    self._is_large = item.is_large
                    return dict(item.result)
                if self._caller.hears(item.message):
                    watch.streaming = True
                    await self._exchange.stream(encode_event(await _sent(item, answer)))
        raise bad_upstream("The server behind the gateway ended the stream without an answer.")

    def _params(self, connection: Connection, *, approved: bool) -> dict[str, Any]:
        """The evaluated parameters under the server's own names, without the caller's envelope."""
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
        """The result in the caller's era, with the names of here."""
        if result.get("resultType") == "input_required":
            if self._same_rounds:
                pass_questions(result, self._message, call, self._sealer, self._questions, self._caller.asks)
                return result
            if self._route.tool is None:
                raise bad_upstream("The server asked for input from the user, which is not carried here.")
            refuse_input(result)
        # No client may be asked by a result that is complete.
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
            self._questions.check_error(error.data, self._caller.asks)
        if self._message.modern and code == RESOURCE_NOT_FOUND:
            code = INVALID_PARAMS
        message: dict[str, Any] = {
            "jsonrpc": "2.0",
            "id": self._message.id,
            "error": {"code": code, "message": error.message},
        }
        if error.data is not None:
            message["error"]["data"] = error.data
            take_ours(dump(message), message)
        status = ERROR_CODE_HTTP_STATUS.get(code, 200) if self._message.modern else 200
        body = answer.redact(dump(message), message)
        await self._exchange.answer(status, body)
        return "error"


async def _sent(notification: Notification, answer: Answer) -> bytes:
    """The bytes of a notification for the client. Raises ``Refused``."""
    message = notification.message

    def write() -> bytes:
        return answer.sent(dump(message), message)

    return await off_loop(write) if notification.is_large else write()


def upstream_refused(error: McpUpstreamError) -> Exception:
    """A failed upstream leg as the pipeline knows it, or the refusal to answer with."""
    if error.kind in {"unreachable", "timeout"}:
        kind = "timeout" if error.kind == "timeout" else "closed"
        return UpstreamError(kind, error.message, may_have_been_sent=error.may_have_been_sent)  # type: ignore[arg-type]
    if error.kind == "busy" or error.kind == "unavailable":  # noqa: PLR1714  the type checker reads it this way
        return UpstreamError(
            error.kind, error.message, may_have_been_sent=False, retry_after_s=error.retry_after_s
        )
    if error.kind == "too_large":
        return bad_upstream("The answer of the server behind the gateway is too large.")
    if error.kind == "loop":
        return is_loop()
    if error.status == 401:
        return CredentialRefused()
    if error.status == 429:
        return Refused(503, -32603, "The server behind the gateway is busy.", headers=RETRY_SOON)
    return bad_upstream("The server behind the gateway did not answer as an MCP server does.")


SUBSCRIBING = frozenset({"resources/subscribe", "resources/unsubscribe"})


class AggregateSubscription(AggregateCall):
    """A request after whose success the session's notes hold what it asked for."""

    def __init__(
        self,
        upstreams: UpstreamSessions,
        sealer: SessionSealer,
        questions: QuestionRules,
        caller: Caller,
        route: Route,
        notebook: Notebook,
    ) -> None:
        super().__init__(upstreams, sealer, questions, caller, route)
        self._notebook = notebook

    def check(self, server: Server, target: UpstreamTarget) -> None:
        """Refuse also, before anybody is asked, what is too long to be kept."""
        super().check(server, target)
        if len(self._message.params["uri"]) > LONGEST_URI:
            raise invalid_params(f"uri may have {LONGEST_URI} characters at most.", self._message.modern)

    async def _ask(
        self, connection: Connection, call: InFlightCall, answer: Answer, watch: Watch
    ) -> dict[str, Any]:
        subscribes = self._message.method == "resources/subscribe"
        # A modern server knows no subscriptions but those of a stream.
        if isinstance(connection, LegacySession):
            try:
                await super()._ask(connection, call, answer, watch)
            except McpUpstreamError as error:
                # It may have been another worker's session with the server that subscribed.
                if subscribes or error.kind != "rpc":
                    raise
        session_id, token_id = self._caller.session_id, call.view.token.id
        if session_id is not None:
            uri = str(self._message.params["uri"])
            if subscribes:
                await self._notebook.subscribe(session_id, token_id, uri)
            else:
                await self._notebook.unsubscribe(session_id, token_id, uri)
        return {}
