"""A provider's two documents, served over real HTTP on loopback; a test can change, break and stop it."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from tests.ports import free_port

DISCOVERY = "/.well-known/openid-configuration"


class Publisher:
    """Answers from ``documents`` (by path) and remembers what it was asked."""

    def __init__(self) -> None:
        self.documents: dict[str, tuple[int, bytes]] = {}
        self.asked: list[str] = []
        self.port = 0
        self._server: asyncio.Server | None = None

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def publish(self, keys: Sequence[dict[str, Any]], **changed: Any) -> None:
        """Publish these keys, and a discovery document with some members changed."""
        self.put(DISCOVERY, {"issuer": self.issuer, "jwks_uri": f"{self.issuer}/keys", **changed})
        self.put("/keys", {"keys": list(keys)})

    def put(self, path: str, document: object, status: int = 200) -> None:
        """Answer with JSON, or with bytes as they are."""
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.documents[path] = (status, body)

    async def start(self) -> None:
        """Serve; again on the same port after a stop, which nobody gets by chance meanwhile."""
        self.port = self.port or free_port()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def stop(self) -> None:
        """Go away."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split(b" ")[1].decode()
            self.asked.append(path)
            status, body = self.documents.get(path, (404, b""))
            writer.write(
                b"HTTP/1.1 %d X\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % (status, len(body))
            )
            writer.write(body)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # The client went away, as it may.
        finally:
            writer.close()


@asynccontextmanager
async def publisher() -> AsyncIterator[Publisher]:
    """A publisher that serves, with nothing published yet."""
    it = Publisher()
    await it.start()
    try:
        yield it
    finally:
        await it.stop()
