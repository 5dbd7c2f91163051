"""Answers that go on: the application itself is asked, without a network, and its answer read as it comes."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlencode

from app.lib.sse import SseEvent, SseParser
from tests.api import BASE_URL

PATIENCE_S = 50.0


class Answer:
    """One answer on its way. ``is_whole`` once it has come to its end; one that was broken off never is."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.is_whole = False
        self.over = asyncio.Event()
        self._chunks: asyncio.Queue[bytes] = asyncio.Queue()
        self._parser = SseParser()
        self._events: list[SseEvent] = []
        self._begun = asyncio.Event()

    async def send(self, message: dict[str, Any]) -> None:
        """What the application sends."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode().lower(): value.decode() for name, value in message["headers"]}
            self._begun.set()
            return
        self._chunks.put_nowait(message.get("body", b""))
        self.is_whole = not message.get("more_body", False)

    async def begun(self) -> None:
        """Wait until it has a status."""
        async with asyncio.timeout(PATIENCE_S):
            await self._begun.wait()

    async def body(self) -> bytes:
        """All that came, once it is over."""
        async with asyncio.timeout(PATIENCE_S):
            await self.over.wait()
        found = b""
        while not self._chunks.empty():
            found += self._chunks.get_nowait()
        return found

    async def block(self) -> SseEvent:
        """The next block of the stream, comments too."""
        async with asyncio.timeout(PATIENCE_S):
            while not self._events:
                self._events += [event for event in self._parser.feed(await self._chunks.get()) if event]
        return self._events.pop(0)

    async def event(self) -> SseEvent:
        """The next event of the stream."""
        while True:
            found = await self.block()
            if found.data is not None:
                return found

    def is_silent(self) -> bool:
        """Whether nothing came that was not read."""
        return not self._events and self._chunks.empty()


@asynccontextmanager
async def listening(
    app: Any, path: str, headers: Mapping[str, str], params: Mapping[str, Any] | None = None
) -> AsyncIterator[Answer]:
    """Ask for a path; at the end, the client leaves."""
    answer, left = Answer(), asyncio.Event()

    async def receive() -> dict[str, Any]:
        if not asked:
            asked.append(True)
            return {"type": "http.request", "body": b"", "more_body": False}
        await left.wait()
        return {"type": "http.disconnect"}

    asked: list[bool] = []
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": urlencode(params or {}, doseq=True).encode(),
        "root_path": "",
        "headers": [
            (b"host", BASE_URL.partition("://")[2].encode()),
            *((name.lower().encode(), value.encode()) for name, value in headers.items()),
        ],
        "client": ("127.0.0.1", 4711),
        "server": ("127.0.0.1", 8080),
        "state": {},
    }
    task = asyncio.create_task(app(scope, receive, answer.send))
    task.add_done_callback(lambda _: answer.over.set())
    try:
        await answer.begun()
        yield answer
    finally:
        left.set()
        async with asyncio.timeout(PATIENCE_S):
            with suppress(asyncio.CancelledError):
                await task
