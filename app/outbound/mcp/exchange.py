"""Sending of JSON-RPC messages to upstreams, parsing of JSON and event stream responses, and their errors."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Literal, NamedTuple

from app.lib import strict_json
from app.lib.event_loop import is_large, off_loop, yield_to_others
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
    "forbidden",  # the URL or its address is forbidden
    "unreachable",  # no connection, or it ended early
    "timeout",
    "busy",  # all connections that the limits allow are in use
    "unavailable",  # paused by the circuit breaker
    "redirect",
    "loop",  # the request came back to the gateway that sent it
    "http_error",  # an HTTP error status without a JSON-RPC error; see ``status``
    "session_lost",  # 404 to a request with a session id; the upstream did not process it
    "rpc",  # a JSON-RPC error; see ``code``, ``data``, ``status``
    "invalid_response",  # not an MCP response: not JSON, wrong id, second response, wrong shape
    "too_large",  # beyond a limit on bytes, pages or items
]


class McpUpstreamError(Exception):
    """An error of an MCP request. ``message`` contains no secrets; for ``rpc`` it is the upstream's own text.

    ``status`` is the HTTP status, if any. ``code`` and ``data`` are those of a JSON-RPC error. ``may_have_been_sent``
    is False only if the upstream cannot have seen the request or says that it did not process it.
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


def invalid_response(message: str, status: int | None = None) -> McpUpstreamError:
    """The error of a response that is not one of MCP."""
    return McpUpstreamError("invalid_response", message, status=status)


Headers = tuple[tuple[bytes, bytes], ...]
ServerRequestHandler = Callable[[JsonObject], Awaitable[None]]

ACCEPT: Headers = (
    (b"Accept", b"application/json, text/event-stream"),
    (b"Content-Type", b"application/json"),
)

MAX_JSON_BYTES = 16 * 1024 * 1024
"""Bytes of a JSON response."""
LOOP_DETECTED = 508
"""The status of a gateway for a request that it sent itself (RFC 5842, 7.2)."""
_ERROR_BODY_BYTES = 64 * 1024
_SERVER_REQUESTS = 100

# Seconds to wait for the end of an event stream after the response, before the stream is cut.
_END_GRACE = 0.05
FIRST_RETRY_S = 1.0
MIN_RETRY_S, MAX_RETRY_S = 0.1, 60.0
MAX_EVENT_ID = 4096


@dataclass(frozen=True, slots=True)
class Notification:
    """A notification before the result. ``message`` is the whole JSON-RPC object."""

    message: JsonObject
    is_large: bool
    """Whether to process it in a thread."""


@dataclass(frozen=True, slots=True)
class Result:
    """The ``result`` of the response, always the last item of a stream."""

    result: JsonObject
    size: int
    """The size of its message in bytes."""
    is_large: bool
    """Whether to process it in a thread."""


Item = Notification | Result


class _Read(NamedTuple):
    """A message, its size in bytes, and whether to process it in a thread."""

    message: JsonObject
    size: int
    is_large: bool


@dataclass(slots=True)
class ResumePoint:
    """The event id at which an event stream can be resumed, and the delay in seconds."""

    event_id: str | None = None
    retry_s: float = FIRST_RETRY_S

    def update(self, event: SseEvent) -> None:
        """Note what an event says of that."""
        if event.id is not None:
            usable = event.id.isascii() and event.id.isprintable() and len(event.id) <= MAX_EVENT_ID
            self.event_id = event.id if event.id and usable else None
        if event.retry is not None:
            self.retry_s = min(max(event.retry / 1000, MIN_RETRY_S), MAX_RETRY_S)


Resume = Callable[[ResumePoint], Awaitable[OutboundResponse]]
"""Opens the stream that resumes an event stream."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An upstream endpoint: client, URL, headers with the credential, timeouts and caller."""

    client: OutboundClient
    target: Target
    headers: Headers
    timeouts: Timeouts
    caller: int | None = None

    async def send(
        self,
        method: Literal["GET", "POST", "DELETE"],
        headers: Headers,
        message: JsonObject | None,
        before_send: Callable[[], bool] | None = None,
        timeouts: Timeouts | None = None,
    ) -> OutboundResponse:
        """Send a message. Returns the response after its headers. Raises ``McpUpstreamError`` and ``NotForwarded``."""
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
            raise translate_error(error) from None


def translate_error(error: ForbiddenUrl | UpstreamError) -> McpUpstreamError:
    """Convert an error of the outbound client."""
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
    """Return ``value`` if it is an object, else raise ``invalid_response``."""
    if not isinstance(value, dict):
        raise invalid_response(f"{what} is not an object")
    return value


async def items(
    response: OutboundResponse,
    request_id: int,
    max_bytes: int,
    on_server_request: ServerRequestHandler | None,
    resume: Resume | None = None,
) -> AsyncGenerator[Item, None]:
    """Parse the response to the request ``request_id``. Raises ``McpUpstreamError``.

    ``resume`` continues an event stream that the upstream ended before the response (MCP 2025-11-25, SEP-1699).
    """
    try:
        if response.status != 200:
            raise await failure(response)
        media_type = (response.header(b"content-type") or b"").partition(b";")[0].strip().lower()
        if media_type == b"application/json":
            body = await response.read(min(max_bytes, MAX_JSON_BYTES))
            yield _answer(await _parse_message(body), request_id)
        elif media_type == b"text/event-stream":
            stream = _event_items(response, request_id, max_bytes, on_server_request, resume)
            async with aclosing(stream):
                async for item in stream:
                    yield item
        else:
            raise invalid_response("the answer is neither JSON nor an event stream", 200)
    except UpstreamError as error:
        raise translate_error(error) from None
    finally:
        response.close()


async def check_stream(response: OutboundResponse) -> None:
    """Raise ``McpUpstreamError`` for a response that is not an event stream."""
    if response.status != 200:
        raise await failure(response)
    media_type = (response.header(b"content-type") or b"").partition(b";")[0].strip().lower()
    if media_type != b"text/event-stream":
        raise invalid_response("the response is not an event stream", 200)


async def notifications(
    response: OutboundResponse, on_server_request: ServerRequestHandler | None
) -> AsyncGenerator[JsonObject, None]:
    """Yield the notifications of a listening stream, until either side ends it. Raises ``McpUpstreamError``."""
    try:
        await check_stream(response)
        async with aclosing(_messages(response, None)) as messages:
            async for message, *_ in messages:
                if "method" not in message:
                    return  # A stream that was opened by a request ends with its response.
                if "id" not in message:
                    yield message
                elif on_server_request is None:
                    raise invalid_response("the upstream sent a request where none may come")
                else:
                    await on_server_request(message)
    except UpstreamError as error:
        raise translate_error(error) from None
    finally:
        response.close()


async def failure(response: OutboundResponse) -> McpUpstreamError:
    """The error of a response other than 200: the JSON-RPC error in its body, or else its status."""
    status = response.status
    if status < 300:
        return invalid_response(f"a request was answered with HTTP {status}", status)
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
    server_requests = 0
    messages = _resume_messages(response, max_bytes, resume)
    while True:
        try:
            async with asyncio.timeout(None if result is None else _END_GRACE):
                read = await anext(messages, None)
        except TimeoutError:
            read = None
        if read is None:
            break
        message = read.message
        if "method" not in message:
            if result is not None:
                raise invalid_response("the upstream answered twice")
            result = _answer(read, request_id)
        elif "id" not in message:
            if result is None:
                yield Notification(message, read.is_large)
        else:
            server_requests += 1
            if on_server_request is None or server_requests > _SERVER_REQUESTS:
                raise invalid_response("the upstream sent a request where none may come")
            await on_server_request(message)
    if result is None:
        raise McpUpstreamError("unreachable", "the upstream's stream ended without an answer")
    yield result


async def _resume_messages(
    response: OutboundResponse, max_bytes: int, resume: Resume | None
) -> AsyncGenerator[_Read, None]:
    """Yield the messages of a stream, and of the streams that resume it until the response."""
    point, answered = ResumePoint(), False
    try:
        while True:
            try:
                async with aclosing(_messages(response, max_bytes, point)) as messages:
                    async for read in messages:
                        answered = answered or "method" not in read.message
                        yield read
            except UpstreamError as error:
                if error.kind != "closed" or resume is None or point.event_id is None:
                    raise
            if answered or resume is None or point.event_id is None:
                return
            response.close()
            response = await resume(point)
    finally:
        response.close()


async def _messages(
    response: OutboundResponse, max_bytes: int | None, point: ResumePoint | None = None
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
                    await yield_to_others()
                    continue
                if point is not None:
                    point.update(event)
                if event.data and event.event == "message":
                    yield await _parse_message(event.data)
        except SseLimitError as error:
            raise McpUpstreamError("too_large", str(error)) from None


async def _parse_message(data: bytes) -> _Read:
    large = is_large(data)
    return _Read(await off_loop(_parse, data) if large else _parse(data), len(data), large)


def _parse(data: bytes) -> JsonObject:
    try:
        message = as_object(strict_json.loads(data), "the answer")
    except strict_json.StrictJsonError as error:
        raise invalid_response(f"the answer is not acceptable JSON: {error.message}") from None
    if message.get("jsonrpc") != "2.0":
        raise invalid_response("the answer is not JSON-RPC 2.0")
    return message


def _answer(read: _Read, request_id: int) -> Result:
    """The result of the JSON-RPC response (2.0, section 5) to this request."""
    message, size, large = read
    error = message.get("error")
    answered = message.get("id")
    # In JSON-RPC, an error about an unreadable request can have a null id.
    if (type(answered) is not int or answered != request_id) and not (error is not None and answered is None):
        raise invalid_response("the answer is to another request")
    if error is not None:
        if "result" in message or not isinstance(error, dict) or type(error.get("code")) is not int:
            raise invalid_response("the answer is not JSON-RPC 2.0")
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
