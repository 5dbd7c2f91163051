"""Relaying of an upstream's event stream to the client."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from app.gateway.wire.answers import Answer, dump, parse
from app.gateway.wire.exchange import ClientWatch, Exchange
from app.gateway.wire.refusals import METHOD_NOT_FOUND, bad_upstream
from app.lib import strict_json
from app.lib.event_loop import is_large, off_loop, yield_to_others
from app.lib.sse import SseEvent, SseLimitError, SseParser, encode_event, replace_id
from app.outbound.http import OutboundResponse, UpstreamError

DRAIN_SECONDS = 0.5
MAX_SERVER_REQUESTS = 100
MAX_UNREAD = 16 * 1024 * 1024
FORWARDED_NOTIFICATIONS = frozenset({"notifications/progress", "notifications/message"})
"""Server notifications that ``/mcp`` supports."""
AnswerUpstream = Callable[[bytes], Awaitable[None]]
"""Posts a message to the upstream in the session of the call."""


class StreamFilter(Protocol):
    """A filter for the notifications and requests on a stream."""

    async def filter_notification(self, message: dict[str, Any]) -> bool | None:
        """Whether to forward the notification; ``None`` to forward it with changes made in place."""

    def filter_request(self, message: dict[str, Any]) -> bool:
        """Whether to forward the request. If so, its id is replaced by the one that the client sees."""

    def seal_event_id(self, id: str) -> bytes | None:
        """Return the event id with which the client may resume the stream; ``None`` when it cannot."""


@dataclass(slots=True, eq=False, repr=False)
class Relay:
    """Relays one event stream until its answer. With ``answers`` False, the stream contains no answer."""

    exchange: Exchange
    answer: Answer
    watch: ClientWatch
    stream_filter: StreamFilter
    answer_upstream: AnswerUpstream | None
    answers: bool = True
    _refused_requests: int = 0
    _unread_bytes: int = 0

    async def run(self, response: OutboundResponse) -> str:
        """Relay the stream and return the outcome. Raises ``Refused``, ``UpstreamError``."""
        self.watch.streaming = True
        chunks = response.iter_chunks()
        parser = SseParser()
        try:
            async for chunk in chunks:
                self._check_backlog(len(chunk))
                for event in parser.feed(chunk):
                    if event is None:
                        await yield_to_others()
                        continue
                    outcome = await self._pass(event)
                    if outcome is not None:
                        await _drain(chunks)
                        return outcome
        except SseLimitError:
            raise bad_upstream("The server behind the gateway sent an event that is too large.") from None
        except UpstreamError as error:
            if error.kind != "closed" or not self.watch.resumable:
                raise
        if self.answers and not self.watch.resumable:
            raise bad_upstream("The server behind the gateway ended the stream without an answer.")
        # If the client can resume the stream, the resumed stream records the outcome.
        await self.exchange.stream(b"", last=True, headers=self.answer.headers)
        return "unknown" if self.answers else "success"

    def _check_backlog(self, size: int) -> None:
        """Limit the bytes for a client that disconnected, because no reads apply backpressure."""
        if self.watch.client_gone:
            self._unread_bytes += size
            if self._unread_bytes > MAX_UNREAD:
                raise bad_upstream(
                    "The server behind the gateway sends too much to a client that disconnected."
                )

    def _event(self, event: SseEvent, body: bytes | None) -> bytes:
        """Encode an event for the client. It is unchanged unless its data or id must change."""
        id = None if event.id is None else self.stream_filter.seal_event_id(event.id)
        if id is not None:
            self.watch.resumable = True
        if body is not event.data and body is not None:
            return encode_event(body, id)
        raw = self.answer.secrets.redact(event.raw)
        return raw if id is None else replace_id(raw, id)

    async def _pass(self, event: SseEvent) -> str | None:
        if not event.data:
            await self.exchange.stream(self._event(event, event.data), headers=self.answer.headers)
            return None
        large = is_large(event.data)
        message = await off_loop(parse, event.data) if large else parse(event.data)
        if not isinstance(message, dict):
            raise bad_upstream("The server behind the gateway sent an event that is not one message.")
        method = message.get("method")
        if method is None:
            if not self.answers:
                return None
            finish = self.answer.finish
            body, outcome = (
                await off_loop(finish, event.data, message) if large else finish(event.data, message)
            )
            await self.exchange.stream(self._event(event, body), last=True, headers=self.answer.headers)
            return outcome
        if not isinstance(method, str):
            raise bad_upstream("The server behind the gateway sent an event that is not one message.")
        passes: bool | None
        if "id" in message:
            passes = None if self.stream_filter.filter_request(message) else False
            if passes is False:
                await self._refuse_request(message)
        else:
            passes = await self.stream_filter.filter_notification(message)
        if passes is not False:
            data = event.data

            def write() -> bytes:
                return self.answer.clean_message(data if passes else dump(message), message)

            body = await off_loop(write) if large else write()
            await self.exchange.stream(self._event(event, body), headers=self.answer.headers)
        return None

    async def _refuse_request(self, message: dict[str, Any]) -> None:
        """Answer a request of the upstream with an error, so that it does not wait forever."""
        self._refused_requests += 1
        if self._refused_requests > MAX_SERVER_REQUESTS:
            raise bad_upstream("The server behind the gateway sends too many requests.")
        if self.answer_upstream is None:
            return
        reply: dict[str, Any] = {"jsonrpc": "2.0", "id": message["id"]}
        reply["error"] = {"code": METHOD_NOT_FOUND, "message": "Method not found"}
        try:
            body = strict_json.dumps(reply)
        except ValueError:
            raise bad_upstream("The server behind the gateway sent something that is not JSON.") from None
        await self.answer_upstream(body)


async def _drain(chunks: AsyncIterator[bytes]) -> None:
    """Read the rest after the answer, so that the connection can be reused."""
    with contextlib.suppress(TimeoutError, UpstreamError):
        async with asyncio.timeout(DRAIN_SECONDS):
            async for _ in chunks:
                pass
