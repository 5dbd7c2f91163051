"""What the service tells browsers of how they come to it (RFC 6797), as ``scopegate serve`` serves it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from urllib.parse import urlsplit

import httpx2
import pytest
from pydantic import SecretStr

from app.cli import serve
from app.main import create_app
from app.settings import Settings
from tests.api import KEY
from tests.serving import listener, served

NAME = "strict-transport-security"
ANSWERS = (
    ("GET", "/livez", 200),
    ("GET", "/api/v1/me", 401),
    ("GET", "/nothing", 404),
    ("GET", "/signed-out", 200),
    ("GET", "/console", 303),
    ("GET", "/console/assets/console.css", 404),
    ("POST", "/mcp", 401),
    ("POST", "/mcp/notes", 401),
    # By the server itself, before any of them.
    ("GET\x7f", "/livez", 400),
    ("GET", f"/{'x' * 40_000}", 431),
)


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[int]:
    """A server as it is set up by these settings; the value is its port."""
    config = serve._config(settings)
    config.app, config.loop = partial(create_app, settings), "none"
    with listener() as sock:
        async with served(config, sock, force=False):
            yield sock.getsockname()[1]


async def asked(port: int, host: str, method: str, path: str) -> tuple[int, httpx2.Headers]:
    """Status and headers of an answer, also to what a client would not send."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    request = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    writer.write(request.encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    writer.close()
    first, *lines = head.rstrip("\r\n").split("\r\n")
    pairs = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
    return int(first.split()[1]), httpx2.Headers(pairs)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://mcp.example.com", ["max-age=31536000"]),
        ("http://mcp.example.com", []),
        (None, []),
    ],
)
async def test_every_answer_has_browsers_come_by_tls_alone_where_that_is_how_the_service_is_reached(
    database_url: str, url: str | None, said: list[str]
) -> None:
    key = SecretStr(KEY)
    settings = Settings(
        database_url=SecretStr(database_url),
        token_pepper=key,
        encryption_key=key,
        signing_key=key,
        public_url=url,
    )
    async with running(settings) as port:
        for method, path, wanted in ANSWERS:
            status, headers = await asked(port, urlsplit(settings.base_url).netloc, method, path)
            assert (status, headers.get_list(NAME)) == (wanted, said), path[:80]
        # Answered by the gateway in one write, as most calls are.
        status, headers = await asked(port, "other.example.com", "POST", "/mcp")
        assert (status, headers.get_list(NAME)) == (400, said)
