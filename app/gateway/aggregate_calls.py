"""One ``tools/call`` on ``/mcp``: to one upstream, in its era, and back in the caller's."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any
from uuid import UUID

from mcp.shared.inbound import ERROR_CODE_HTTP_STATUS

from app.gateway.answers import Answer, dump, refuse_input, secrets_of
from app.gateway.envelope import Message
from app.gateway.http import Exchange
from app.gateway.parameter_headers import Headers, made_parameters, sent_parameters
from app.gateway.pipeline import Passed
from app.gateway.refusals import RETRY_SOON, Refused, bad_upstream
from app.gateway.relay import CARRIED_NOTIFICATIONS, Watch
from app.gateway.upstream_sessions import Key, UpstreamSessions
from app.kit.mcp_upstream import McpUpstreamError, ModernConnection, Notification, Result
from app.kit.outbound import NotForwarded, UpstreamError
from app.kit.sse import encode_event

_ENVELOPE_PREFIX = "io.modelcontextprotocol/"


class AggregateCall:
    """Carries one call; progress and log messages on the way make the answer an event stream."""

    def __init__(
        self,
        upstreams: UpstreamSessions,
        exchange: Exchange,
        message: Message,
        tool: str,
        session_id: UUID | None,
    ) -> None:
        self._upstreams = upstreams
        self._exchange = exchange
        self._message = message
        self._tool = tool
        self._session_id = session_id
        self._reopened = False

    async def forward(self, passed: Passed) -> str:
        """Returns the outcome. Raises ``Refused``, ``UpstreamError``, ``NotForwarded``, ``ForbiddenUrl``."""
        key: Key = (self._session_id or passed.view.token.id, passed.on.id)
        answer = Answer(self._message.id, secrets_of(passed.to))
        try:
            with Watch(self._exchange, passed.flight, self._message.modern) as watch:
                result = await self._result(passed, key, answer, watch)
        except McpUpstreamError as error:
            if error.kind == "session_lost" and not self._reopened:
                # The upstream said that it did not take the call: it may go once more, on a new admission.
                self._reopened = True
                raise NotForwarded from None
            if error.kind == "rpc":
                return await self._answer_error(error, answer)
            raise upstream_refused(error) from None
        self._translate(result)
        message = {"jsonrpc": "2.0", "id": self._message.id, "result": result}
        body, outcome = answer.finish(dump(message), message)
        await self._send(body)
        return outcome

    async def _result(self, passed: Passed, key: Key, answer: Answer, watch: Watch) -> dict[str, Any]:
        may_start = passed.flight.may_start
        async with self._upstreams.use(
            key, passed.to, modern=self._message.modern, before_send=may_start
        ) as connection:
            extra = self._parameters(passed) if isinstance(connection, ModernConnection) else ()
            stream = connection.stream(
                "tools/call", self._params(), before_send=may_start, extra_headers=extra
            )
            return await self._read(stream, answer, watch)

    def _parameters(self, passed: Passed) -> Headers:
        if self._message.modern:
            found = sent_parameters(self._exchange)
        else:
            found = made_parameters(passed.on.tools.get(self._tool), self._message.params.get("arguments"))
        own = {name for name, _ in passed.to.headers}
        return tuple((name, value) for name, value in found if name not in own)

    async def _read(
        self, stream: AsyncGenerator[Notification | Result, None], answer: Answer, watch: Watch
    ) -> dict[str, Any]:
        async with aclosing(stream):
            async for item in stream:
                if not isinstance(item, Notification):
                    return dict(item.result)
                if item.message.get("method") in CARRIED_NOTIFICATIONS:
                    watch.streaming = True
                    raw = answer.redact(dump(item.message), item.message)
                    await self._exchange.stream(encode_event(raw))
        raise bad_upstream("The server behind the gateway ended the stream without an answer.")

    def _params(self) -> dict[str, Any]:
        """The evaluated parameters under the upstream's own name of the tool, without the caller's envelope."""
        params = {**self._message.params, "name": self._tool}
        meta = params.get("_meta")
        if isinstance(meta, dict):
            kept = {key: value for key, value in meta.items() if not key.startswith(_ENVELOPE_PREFIX)}
            params["_meta"] = kept
            if not kept:
                del params["_meta"]
        return params

    def _translate(self, result: dict[str, Any]) -> None:
        refuse_input(result)
        if self._message.modern:
            result.setdefault("resultType", "complete")
        else:
            result.pop("resultType", None)

    async def _answer_error(self, error: McpUpstreamError, answer: Answer) -> str:
        code = error.code if error.code is not None else -32603
        message: dict[str, Any] = {
            "jsonrpc": "2.0",
            "id": self._message.id,
            "error": {"code": code, "message": error.message},
        }
        if error.data is not None:
            message["error"]["data"] = error.data
        status = ERROR_CODE_HTTP_STATUS.get(code, 200) if self._message.modern else 200
        body = answer.redact(dump(message), message)
        if self._exchange.started:
            await self._send(body)
        else:
            await self._exchange.answer(status, body)
        return "error"

    async def _send(self, body: bytes) -> None:
        if self._exchange.started:
            await self._exchange.stream(encode_event(body), last=True)
        else:
            await self._exchange.answer(200, body)


def upstream_refused(error: McpUpstreamError) -> Exception:
    """A failed upstream leg as the pipeline knows it, or the refusal to answer with."""
    if error.kind in {"unreachable", "timeout"}:
        kind = "timeout" if error.kind == "timeout" else "closed"
        return UpstreamError(kind, error.message, may_have_been_sent=error.may_have_been_sent)  # type: ignore[arg-type]
    if error.kind == "too_large":
        return bad_upstream("The answer of the server behind the gateway is too large.")
    if error.status == 429:
        return Refused(503, -32603, "The server behind the gateway is busy.", headers=RETRY_SOON)
    return bad_upstream("The server behind the gateway did not answer as an MCP server does.")
