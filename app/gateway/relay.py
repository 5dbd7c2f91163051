"""An upstream's event stream on its way to the client, event by event, and a watch on the client meanwhile."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Any, Protocol, Self

from app.gateway.pipeline import ClientWork
from app.gateway.wire.answers import Answer, dump, parsed
from app.gateway.wire.exchange import Exchange
from app.gateway.wire.refusals import METHOD_NOT_FOUND, bad_upstream
from app.lib import strict_json
from app.lib.event_loop import is_large, off_loop, yield_to_others
from app.lib.sse import SseEvent, SseLimitError, SseParser, encode_event, replace_id
from app.outbound.http import OutboundResponse, UpstreamError

WATCH_AFTER = 0.05
"""Seconds before the client is watched: most calls are over by then and need no second task."""
FIRST_COMMENT, NEXT_COMMENT = 5.0, 15.0
DRAIN_SECONDS = 0.5
MAX_SERVER_REQUESTS = 100
MAX_UNHEARD = 16 * 1024 * 1024
CARRIED_NOTIFICATIONS = frozenset({"notifications/progress", "notifications/message"})
"""Those that ``/mcp`` carries."""
AnswerUpstream = Callable[[bytes], Awaitable[None]]
"""Posts a message to the upstream in the session of the call."""


class Passage(Protocol):
    """What passes on a stream beside the answer, and how it is changed on the way."""

    async def takes_notification(self, message: dict[str, Any]) -> bool | None:
        """Whether it passes; ``None`` when it passes and was changed."""
        ...

    def takes_request(self, message: dict[str, Any]) -> bool:
        """Whether the client is asked; then the message bears the id that the client sees."""
        ...

    def event_id(self, id: str) -> bytes | None:
        """The id under which the client may take the stream up again; ``None`` when it cannot."""
        ...


class Watch:
    """Sees the client leave, and keeps a silent stream alive with comments.

    In the modern era leaving cancels. In the legacy era it does not, and the call runs to its end unheard, unless its
    client took it back before. A stream that can be taken up again is let go of: the upstream keeps what it says
    meanwhile.
    """

    def __init__(self, exchange: Exchange, work: ClientWork, modern: bool) -> None:
        self._exchange = exchange
        self._work = work
        self._modern = modern
        self._task: asyncio.Task[None] | None = None
        self.streaming = False
        self.unheard = False
        """The client left, and the call goes on."""
        self.resumable = False
        """The stream can be taken up again, so a client that leaves it is no reason to hold it."""

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
                if not self._exchange.complete:
                    if self._modern or self._work.withdrawn:
                        self._work.leave()
                    elif self.resumable:
                        self._work.suspend()
                    else:
                        self.unheard = True
                return


class Relay:
    """Passes one event stream on until the answer, which ends it. ``answers`` False: a stream that brings none."""

    def __init__(
        self,
        exchange: Exchange,
        answer: Answer,
        watch: Watch,
        passage: Passage,
        answer_upstream: AnswerUpstream | None,
        *,
        answers: bool = True,
    ) -> None:
        self._exchange = exchange
        self._answer = answer
        self._watch = watch
        self._passage = passage
        self._answer_upstream = answer_upstream
        self._answers = answers
        self._refused_requests = 0
        self._unheard = 0

    async def run(self, response: OutboundResponse) -> str:
        """Returns the outcome. Raises ``Refused``, ``UpstreamError``."""
        self._watch.streaming = True
        chunks = response.iter_chunks()
        parser = SseParser()
        try:
            async for chunk in chunks:
                self._bound(len(chunk))
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
            if error.kind != "closed" or not self._watch.resumable:
                raise
        if self._answers and not self._watch.resumable:
            raise bad_upstream("The server behind the gateway ended the stream without an answer.")
        # How a call ends whose stream the client may take up again is told by the stream that takes it up.
        await self._exchange.stream(b"", last=True, headers=self._answer.headers)
        return "unknown" if self._answers else "success"

    def _bound(self, size: int) -> None:
        """A client that reads sets the pace; for one that left, nothing does."""
        if self._watch.unheard:
            self._unheard += size
            if self._unheard > MAX_UNHEARD:
                raise bad_upstream("The server behind the gateway says too much to a client that left.")

    def _event(self, event: SseEvent, body: bytes | None) -> bytes:
        """The event as the client sees it: untouched, unless its data or its id had to change."""
        id = None if event.id is None else self._passage.event_id(event.id)
        if id is not None:
            self._watch.resumable = True
        if body is not event.data and body is not None:
            return encode_event(body, id)
        raw = self._answer.scrub(event.raw)
        return raw if id is None else replace_id(raw, id)

    async def _pass(self, event: SseEvent) -> str | None:
        if not event.data:
            await self._exchange.stream(self._event(event, event.data), headers=self._answer.headers)
            return None
        message = await parsed(event.data)
        if not isinstance(message, dict):
            raise bad_upstream("The server behind the gateway sent an event that is not one message.")
        method = message.get("method")
        if method is None:
            if not self._answers:
                return None
            body, outcome = await self._answer.finished(event.data, message)
            await self._exchange.stream(self._event(event, body), last=True, headers=self._answer.headers)
            return outcome
        if not isinstance(method, str):
            raise bad_upstream("The server behind the gateway sent an event that is not one message.")
        passes: bool | None
        if "id" in message:
            passes = None if self._passage.takes_request(message) else False
            if passes is False:
                await self._refuse_request(message)
        else:
            passes = await self._passage.takes_notification(message)
        if passes is not False:
            data = event.data

            def write() -> bytes:
                return self._answer.sent(data if passes else dump(message), message)

            body = await off_loop(write) if is_large(data) else write()
            await self._exchange.stream(self._event(event, body), headers=self._answer.headers)
        return None

    async def _refuse_request(self, message: dict[str, Any]) -> None:
        """The client is not asked; the upstream gets its answer from us, else it would wait for ever."""
        self._refused_requests += 1
        if self._refused_requests > MAX_SERVER_REQUESTS:
            raise bad_upstream("The server behind the gateway asks too much.")
        if self._answer_upstream is None:
            return
        reply: dict[str, Any] = {"jsonrpc": "2.0", "id": message["id"]}
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
