"""A baseline: a plain ASGI application that forwards with aiohttp, without checks or records.

``python -m bench.aiohttp_proxy PORT UPSTREAM_PORT``
"""

import gc
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import aiohttp
import uvicorn

Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]

_NOT_FORWARDED = frozenset({b"host", b"connection", b"authorization", b"content-length"})
_PASSED_BACK = frozenset({b"content-type", b"content-length"})


class Proxy:
    """Forwards each request to one upstream."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._session: aiohttp.ClientSession | None = None

    async def __call__(self, scope: Event, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await self._forward(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        connector = aiohttp.TCPConnector(limit=0)
        self._session = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        gc.freeze()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._session.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _forward(self, scope: Event, receive: Receive, send: Send) -> None:
        assert self._session is not None
        parts = []
        while True:
            event = await receive()
            parts.append(event.get("body", b""))
            if not event.get("more_body", False):
                break
        headers = [
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, value in scope["headers"]
            if name not in _NOT_FORWARDED
        ]
        url = self._upstream + scope["path"]
        async with self._session.request(
            scope["method"], url, data=b"".join(parts), headers=headers
        ) as answer:
            body = await answer.read()
            back = [
                (name.lower(), value) for name, value in answer.raw_headers if name.lower() in _PASSED_BACK
            ]
            await send({"type": "http.response.start", "status": answer.status, "headers": back})
            await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    uvicorn.run(
        Proxy(f"http://127.0.0.1:{sys.argv[2]}"),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
    )
