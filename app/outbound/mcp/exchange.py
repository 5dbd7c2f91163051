"""One POST of one JSON-RPC message, and the reading of what comes back as JSON or as an event stream.

What can go wrong when talking MCP to an upstream.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Literal, NamedTuple

from app.lib import strict_json
from app.lib.event_loop import is_large, let_others_go_on, off_loop
from app.lib.sse import SseEvent, SseLimitError, SseParser
from app.lib.strict_json import JsonObject, JsonValue
from app.outbound.http import (
    VIA,
    ForbiddenUrl,
    OutboundClient,
    OutboundResponse,
    Target,
    Timeouts,
    UpstreamError,
)

McpUpstreamErrorKind = Literal[
    "forbidden",  # the URL or its address may not be reached
    "unreachable",  # no connection, or it ended early
    "timeout",
    "busy",  # every connection that the limits allow is in use
    "unavailable",  # it has not answered lately, and is left alone for a moment
    "redirect",
    "loop",  # the request came back to the gateway that sent it
    "http_error",  # an HTTP error status without a JSON-RPC error in it; see ``status``
    "session_lost",  # 404 to a request with a session id: not taken by the upstream
    "rpc",  # a JSON-RPC error; see ``code``, ``data``, ``status``
    "invalid_response",  # not an MCP answer: no JSON, wrong id, second answer, wrong shape
    "too_large",  # past a cap on bytes, pages or items
]


class McpUpstreamError(Exception):
    """``message`` is plain words (for ``rpc``: the upstream's own text) without secrets.

    ``status``: the HTTP status if there was one. ``code`` and ``data``: those of a JSON-RPC error.
    ``may_have_been_sent`` is False only when the upstream cannot have seen the request or says it did not take it.
    """

    def __init__(
        self,
        kind: McpUpstreamErrorKind,
        message: str,
        *,
        status: int | None = None,
        code: int | None = None,
        data: JsonValue = None,
        may_have_been_sent: bool = True,
    ) -> None:
        super().__init__(message)
        self.kind: McpUpstreamErrorKind = kind
        self.message = message
        self.status = status
        self.code = code
        self.data = data
        self.may_have_been_sent = may_have_been_sent
        self.retry_after_s = 1


Headers = tuple[tuple[bytes, bytes], ...]
ServerRequestHandler = Callable[[JsonObject], Awaitable[None]]


ACCEPT: Headers = (
    (b"Accept", b"application/json, text/event-stream"),
    (b"Content-Type", b"application/json"),
)


MOST_JSON = 16 * 1024 * 1024
"""Bytes of an answer in one piece."""
LOOP_DETECTED = 508
"""What a gateway answers a request that it sent itself (RFC 5842, 7.2)."""
_ERROR_BODY_BYTES = 64 * 1024
_SERVER_REQUESTS = 100

# How long (seconds) the end of an event stream may lag behind the answer before the stream is cut.
_END_GRACE = 0.05
FIRST_RETRY_S = 1.0
MIN_RETRY_S, MAX_RETRY_S = 0.1, 60.0
MAX_EVENT_ID = 4096


@dataclass(frozen=True, slots=True)
class Notification:
    """A notification that came before the result; ``message`` is the whole JSON-RPC object."""

    message: JsonObject
    is_large: bool
    """Whether work on it should not hold the event loop."""


@dataclass(frozen=True, slots=True)
class Result:
    """The ``result`` of the answer, always the last item of a stream."""

    result: JsonObject
    size: int
    """The bytes of the message that it came in."""
    is_large: bool
    """Whether work on it should not hold the event loop."""


Item = Notification | Result


class _Read(NamedTuple):
    """A message, the bytes that it took, and whether work on it should not hold the event loop."""

    message: JsonObject
    size: int
    is_large: bool


@dataclass(slots=True)
class Mark:
    """Where an event stream that ended without its answer can be resumed, and how many seconds later."""

    event_id: str | None = None
    retry_s: float = FIRST_RETRY_S

    def see(self, event: SseEvent) -> None:
        """Note what an event says of that."""
        if event.id is not None:
            usable = event.id.isascii() and event.id.isprintable() and len(event.id) <= MAX_EVENT_ID
            self.event_id = event.id if event.id and usable else None
        if event.retry is not None:
            self.retry_s = min(max(event.retry / 1000, MIN_RETRY_S), MAX_RETRY_S)


Resume = Callable[[Mark], Awaitable[OutboundResponse]]
"""Opens the rest of an event stream."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where and how to talk: client, URL, the caller's headers (credential), times, the cap on an answer, for whom."""

    client: OutboundClient
    target: Target
    headers: Headers
    timeouts: Timeouts
    max_bytes: int
    caller: int | None = None

    async def send(
        self,
        method: Literal["GET", "POST", "DELETE"],
        headers: Headers,
        message: JsonObject | None,
        before_send: Callable[[], bool] | None = None,
        timeouts: Timeouts | None = None,
    ) -> OutboundResponse:
        """The head of the answer. Raises ``McpUpstreamError`` and ``NotForwarded``."""
        body = b"" if message is None else strict_json.dumps(message)
        via = () if any(name == VIA for name, _ in headers) else (self.client.loops.header(),)
        try:
            return await self.client.request(
                method,
                self.target,
                (*self.headers, *headers, *via),
                body,
                timeouts=timeouts or self.timeouts,
                before_send=before_send,
                caller=self.caller,
            )
        except (ForbiddenUrl, UpstreamError) as error:
            raise translated(error) from None


def translated(error: ForbiddenUrl | UpstreamError) -> McpUpstreamError:
    """The outbound client's error in this package's words."""
    if isinstance(error, ForbiddenUrl):
        return McpUpstreamError("forbidden", error.reason, may_have_been_sent=False)
    kinds: dict[str, McpUpstreamErrorKind] = {
        "timeout": "timeout",
        "too_large": "too_large",
        "protocol": "invalid_response",
        "compressed": "invalid_response",
        "busy": "busy",
        "unavailable": "unavailable",
    }
    kind = kinds.get(error.kind, "unreachable")
    translation = McpUpstreamError(kind, error.message, may_have_been_sent=error.may_have_been_sent)
    translation.retry_after_s = error.retry_after_s
    return translation


def as_object(value: JsonValue, what: str) -> JsonObject:
    """``value`` if it is an object, else ``invalid_response``."""
    if not isinstance(value, dict):
        raise McpUpstreamError("invalid_response", f"{what} is not an object")
    return value


async def items(
    response: OutboundResponse,
    request_id: int,
    max_bytes: int,
    on_server_request: ServerRequestHandler | None,
    resume: Resume | None = None,
) -> AsyncGenerator[Item, None]:
    """What the answer to the request ``request_id`` holds. Raises ``McpUpstreamError``.

    ``resume``: how to go on where the upstream ends an event stream before its answer (MCP 2025-11-25, SEP-1699).
    """
    try:
        if response.status != 200:
            raise await failure(response)
        media_type = (response.header(b"content-type") or b"").partition(b";")[0].strip().lower()
        if media_type == b"application/json":
            yield _answer(await _parsed(await response.read(min(max_bytes, MOST_JSON))), request_id)
        elif media_type == b"text/event-stream":
            found = _event_items(response, request_id, max_bytes, on_server_request, resume)
            async with aclosing(found):
                async for item in found:
                    yield item
        else:
            raise McpUpstreamError(
                "invalid_response", "the answer is neither JSON nor an event stream", status=200
            )
    except UpstreamError as error:
        raise translated(error) from None
    finally:
        response.close()


async def check_stream(response: OutboundResponse) -> None:
    """Raise ``McpUpstreamError`` for an answer that is no event stream."""
    if response.status != 200:
        raise await failure(response)
    media_type = (response.header(b"content-type") or b"").partition(b";")[0].strip().lower()
    if media_type != b"text/event-stream":
        raise McpUpstreamError("invalid_response", "what should be an event stream is none", status=200)


async def notifications(
    response: OutboundResponse, on_server_request: ServerRequestHandler | None
) -> AsyncGenerator[JsonObject, None]:
    """What a stream that answers nothing tells, until either side ends it. Raises ``McpUpstreamError``."""
    try:
        await check_stream(response)
        async with aclosing(_messages(response, None)) as messages:
            async for message, *_ in messages:
                if "method" not in message:
                    return  # A stream that was asked for with a request ends with an answer to it.
                if "id" not in message:
                    yield message
                elif on_server_request is None:
                    raise McpUpstreamError(
                        "invalid_response", "the upstream sent a request where none may come"
                    )
                else:
                    await on_server_request(message)
    except UpstreamError as error:
        raise translated(error) from None
    finally:
        response.close()


async def failure(response: OutboundResponse) -> McpUpstreamError:
    """The error that an answer other than 200 stands for: a JSON-RPC error in its body, or the status alone."""
    status = response.status
    if status < 300:
        return McpUpstreamError(
            "invalid_response", f"a request was answered with HTTP {status}", status=status
        )
    if status == LOOP_DETECTED:
        return McpUpstreamError("loop", "the request came back to where it began", status=status)
    if status < 400:
        return McpUpstreamError("redirect", f"the upstream redirects (HTTP {status})", status=status)
    try:
        value = strict_json.loads(await response.read(_ERROR_BODY_BYTES))
    except (UpstreamError, strict_json.StrictJsonError):
        value = None
    error = value.get("error") if isinstance(value, dict) else None
    if isinstance(error, dict) and type(error.get("code")) is int:
        return _rpc_error(error, status)
    return McpUpstreamError("http_error", f"the upstream answered HTTP {status}", status=status)


async def _event_items(
    response: OutboundResponse,
    request_id: int,
    max_bytes: int,
    on_server_request: ServerRequestHandler | None,
    resume: Resume | None,
) -> AsyncGenerator[Item, None]:
    result: Result | None = None
    asked = 0
    messages = _resumed(response, max_bytes, resume)
    while True:
        try:
            async with asyncio.timeout(None if result is None else _END_GRACE):
                found = await anext(messages, None)
        except TimeoutError:
            found = None
        if found is None:
            break
        message = found.message
        if "method" not in message:
            if result is not None:
                raise McpUpstreamError("invalid_response", "the upstream answered twice")
            result = _answer(found, request_id)
        elif "id" not in message:
            if result is None:
                yield Notification(message, found.is_large)
        else:
            asked += 1
            if on_server_request is None or asked > _SERVER_REQUESTS:
                raise McpUpstreamError("invalid_response", "the upstream sent a request where none may come")
            await on_server_request(message)
    if result is None:
        raise McpUpstreamError("unreachable", "the upstream's stream ended without an answer")
    yield result


async def _resumed(
    response: OutboundResponse, max_bytes: int, resume: Resume | None
) -> AsyncGenerator[_Read, None]:
    """The messages of a stream and, as long as it is resumed before its answer, of those that take its place."""
    mark, answered = Mark(), False
    try:
        while True:
            try:
                async with aclosing(_messages(response, max_bytes, mark)) as messages:
                    async for found in messages:
                        answered = answered or "method" not in found.message
                        yield found
            except UpstreamError as error:
                if error.kind != "closed" or resume is None or mark.event_id is None:
                    raise
            if answered or resume is None or mark.event_id is None:
                return
            response.close()
            response = await resume(mark)
    finally:
        response.close()


async def _messages(
    response: OutboundResponse, max_bytes: int | None, mark: Mark | None = None
) -> AsyncGenerator[_Read, None]:
    parser = SseParser()
    size = 0
    async for chunk in response.iter_chunks():
        size += len(chunk)
        if max_bytes is not None and size > max_bytes:
            raise McpUpstreamError("too_large", "the event stream is too large")
        try:
            for event in parser.feed(chunk):
                if event is None:
                    await let_others_go_on()
                    continue
                if mark is not None:
                    mark.see(event)
                if event.data and event.event == "message":
                    yield await _parsed(event.data)
        except SseLimitError as error:
            raise McpUpstreamError("too_large", str(error)) from None


async def _parsed(data: bytes) -> _Read:
    large = is_large(data)
    return _Read(await off_loop(_parse, data) if large else _parse(data), len(data), large)


def _parse(data: bytes) -> JsonObject:
    try:
        message = as_object(strict_json.loads(data), "the answer")
    except strict_json.StrictJsonError as error:
        raise McpUpstreamError(
            "invalid_response", f"the answer is not acceptable JSON: {error.message}"
        ) from None
    if message.get("jsonrpc") != "2.0":
        raise McpUpstreamError("invalid_response", "the answer is not JSON-RPC 2.0")
    return message


def _answer(read: _Read, request_id: int) -> Result:
    """The result of a JSON-RPC answer (2.0, section 5) to exactly this request."""
    message, size, large = read
    error = message.get("error")
    answered = message.get("id")
    # JSON-RPC lets an error about an unreadable request have a null id.
    if (type(answered) is not int or answered != request_id) and not (error is not None and answered is None):
        raise McpUpstreamError("invalid_response", "the answer is to another request")
    if error is not None:
        if "result" in message or not isinstance(error, dict) or type(error.get("code")) is not int:
            raise McpUpstreamError("invalid_response", "the answer is not JSON-RPC 2.0")
        raise _rpc_error(error, 200)
    return Result(as_object(message.get("result"), "the result"), size, large)


def _rpc_error(error: JsonObject, status: int) -> McpUpstreamError:
    code, message = error.get("code"), error.get("message")
    return McpUpstreamError(
        "rpc",
        message if isinstance(message, str) else "the upstream answered with an error",
        status=status,
        code=code if isinstance(code, int) else None,
        data=error.get("data"),
    )
