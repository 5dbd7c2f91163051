"""An upstream's event stream on its way to the client, event by event, and a watch on the client meanwhile."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Any, Self

from app.gateway.answers import Answer, parse
from app.gateway.http import Exchange
from app.gateway.pipeline import Flight
from app.gateway.refusals import METHOD_NOT_FOUND, bad_upstream
from app.kit import strict_json
from app.kit.outbound import OutboundResponse, UpstreamError
from app.kit.sse import SseEvent, SseLimitError, SseParser, encode_event

WATCH_AFTER = 0.05
"""Seconds before the client is watched: most calls are over by then and need no second task."""
FIRST_COMMENT, NEXT_COMMENT = 5.0, 15.0
DRAIN_SECONDS = 0.5
MAX_SERVER_REQUESTS = 100

CARRIED_NOTIFICATIONS = frozenset({"notifications/progress", "notifications/message"})

AnswerUpstream = Callable[[bytes], Awaitable[None]]
"""Posts a message to the upstream in the session of the call."""


class Watch:
    """Sees the client leave, and keeps a silent stream alive with comments.

    In the modern era leaving cancels; in the legacy era it does not, and the call runs to its end unheard.
    """

    def __init__(self, exchange: Exchange, flight: Flight, modern: bool) -> None:
        self._exchange = exchange
        self._flight = flight
        self._modern = modern
        self._task: asyncio.Task[None] | None = None
        self.streaming = False

    def __enter__(self) -> Self:
        self._alarm = self._exchange.alarms.set(WATCH_AFTER, self._start)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exchange.alarms.clear(self._alarm)
        if self._task is not None:
            self._task.cancel()

    def _start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        wait = FIRST_COMMENT
        while True:
            try:
                async with asyncio.timeout(wait):
                    event = await self._exchange.receive()
            except TimeoutError:
                wait = NEXT_COMMENT
                if self.streaming and not self._exchange.complete and not self._exchange.sending:
                    await self._exchange.stream(b": keep-alive\r\n\r\n")
                continue
            if event["type"] == "http.disconnect":
                # After the whole answer is out, a server reports a disconnect too.
                if self._modern and not self._exchange.complete:
                    self._flight.leave()
                return


class Relay:
    """Passes one event stream on until the answer, which ends it."""

    def __init__(
        self, exchange: Exchange, answer: Answer, watch: Watch, answer_upstream: AnswerUpstream | None
    ) -> None:
        self._exchange = exchange
        self._answer = answer
        self._watch = watch
        self._answer_upstream = answer_upstream
        self._server_requests = 0

    async def run(self, response: OutboundResponse) -> str:
        """Returns the outcome. Raises ``Refused``, ``UpstreamError``."""
        self._watch.streaming = True
        chunks = response.iter_chunks()
        parser = SseParser()
        async for chunk in chunks:
            try:
                events = parser.feed(chunk)
            except SseLimitError:
                raise bad_upstream("The server behind the gateway sent an event that is too large.") from None
            for event in events:
                outcome = await self._pass(event)
                if outcome is not None:
                    await _drain(chunks)
                    return outcome
        raise bad_upstream("The server behind the gateway ended the stream without an answer.")

    async def _pass(self, event: SseEvent) -> str | None:
        if not event.data:
            await self._exchange.stream(self._answer.scrub(event.raw), headers=self._answer.headers)
            return None
        message = parse(event.data)
        if not isinstance(message, dict):
            raise bad_upstream("The server behind the gateway sent an event that is not one message.")
        method = message.get("method")
        if method is None:
            body, outcome = self._answer.finish(event.data, message)
            raw = self._answer.scrub(event.raw) if body is event.data else encode_event(body)
            await self._exchange.stream(raw, last=True, headers=self._answer.headers)
            return outcome
        if "id" in message:
            await self._refuse_request(message)
        elif method in CARRIED_NOTIFICATIONS:
            body = self._answer.redact(event.data, message)
            raw = self._answer.scrub(event.raw) if body is event.data else encode_event(body)
            await self._exchange.stream(raw, headers=self._answer.headers)
        return None

    async def _refuse_request(self, message: dict[str, Any]) -> None:
        """The client is not asked; the upstream gets its answer from us, else it would wait for ever."""
        self._server_requests += 1
        if self._server_requests > MAX_SERVER_REQUESTS:
            raise bad_upstream("The server behind the gateway asks too much.")
        if self._answer_upstream is None:
            return
        reply: dict[str, Any] = {"jsonrpc": "2.0", "id": message["id"]}
        if message["method"] == "ping":
            reply["result"] = {}
        else:
            reply["error"] = {"code": METHOD_NOT_FOUND, "message": "Method not found"}
        try:
            body = strict_json.dumps(reply)
        except ValueError:
            raise bad_upstream("The server behind the gateway sent something that is not JSON.") from None
        await self._answer_upstream(body)


async def _drain(chunks: AsyncIterator[bytes]) -> None:
    """Read what little follows the answer, so that the connection can be used again."""
    with contextlib.suppress(TimeoutError, UpstreamError):
        async with asyncio.timeout(DRAIN_SECONDS):
            async for _ in chunks:
                pass
