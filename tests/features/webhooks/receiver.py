"""A real HTTP endpoint that accepts messages, responds as configured, and lets tests wait for requests."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from standardwebhooks import Webhook as Verifier

_DEADLINE_S = 50.0
CUT = "cut"
"""An answer that ends in the middle."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """A received request."""

    line: str
    headers: dict[str, str]
    body: str
    """What was sent, decompressed."""

    def verified(self, secret: str) -> Any:
        """The message, if its signature is good. Raises ``WebhookVerificationError``."""
        return Verifier(secret).verify(self.body, self.headers)


@dataclass
class Receiver:
    """``answers`` are used one after another; afterwards every response is a success. ``None`` never responds."""

    url: str = ""
    answers: list[str | None] = field(default_factory=list)
    arrived: list[Arrived] = field(default_factory=list)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def until(self, holds: Callable[[list[Arrived]], bool]) -> None:
        """Wait until a condition on the received requests holds. Raises ``TimeoutError``."""
        async with asyncio.timeout(_DEADLINE_S), self._changed:
            await self._changed.wait_for(lambda: holds(self.arrived))

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                line, *lines = head.decode("latin-1").strip().split("\r\n")
                headers = {
                    name.lower(): value.strip() for name, _, value in (one.partition(":") for one in lines)
                }
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                if headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                answer = self.answers.pop(0) if self.answers else "204 No Content"
                async with self._changed:
                    self.arrived.append(Arrived(line, headers, body.decode()))
                    self._changed.notify_all()
                if answer is None:
                    await reader.read()
                    break
                if answer == CUT:
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Le")
                    break
                writer.write(f"HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n".encode())
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # The sender may close the connection at any time.
        finally:
            writer.close()


@asynccontextmanager
async def receiver(*answers: str | None) -> AsyncIterator[Receiver]:
    """Serve until the end of the block."""
    mine = Receiver(answers=list(answers))
    server = await asyncio.start_server(mine.take, "127.0.0.1", 0)
    async with server:
        mine.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook?for=gate"
        yield mine
        server.close()
        server.close_clients() if hasattr(server, "close_clients") else None
