"""Slow, half-sent and oversized requests at the socket, of uvicorn as it runs."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn

from app.http.server_protocol import HEAD_BYTES, MAX_HEADERS, MAX_PIPELINED, GuardedHttp, SocketTimes
from tests.serving import served

LENGTH = [(b"content-length", b"30000000")]
PATIENT = SocketTimes(head=60, request=60, linger=60, idle=60, write=60, look=0.02)
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
Asgi = Callable[[Any, Any, Any], Awaitable[None]]


@dataclass
class Seen:
    """The requests to the application, and the disconnects that it saw."""

    paths: list[str] = field(default_factory=list)
    headers: list[list[tuple[bytes, bytes]]] = field(default_factory=list)
    begun: int = 0
    """Answers that ``endless`` has begun."""
    left: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))


@asynccontextmanager
async def serving(app: Asgi, most: int = 1000, **times: float) -> AsyncIterator[int]:
    """Serve it under these times, all others long; the port."""
    allowed = {name: getattr(PATIENT, name) for name in SocketTimes.__slots__} | times
    protocol = type("Guarded", (GuardedHttp,), {"times": SocketTimes(**allowed), "max_connections": most})
    config = uvicorn.Config(app, http=protocol, log_level="warning", lifespan="off", ws="none")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with served(config, listener):
            yield listener.getsockname()[1]


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(50):
            yield reader, writer
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)


async def rest(reader: asyncio.StreamReader) -> bytes:
    """Everything up to the end of the connection, however that comes."""
    got = bytearray()
    with suppress(ConnectionError):
        while piece := await reader.read(65536):
            got += piece
    return bytes(got)


async def answered(reader: asyncio.StreamReader) -> bytes:
    """One answer of ``echo``."""
    return await reader.readuntil(b"ok\n")


def echo(seen: Seen) -> Asgi:
    """Reads the body, and answers."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.paths.append(scope["path"])
        seen.headers.append(list(scope["headers"]))
        more = True
        while more:
            event = await receive()
            if event["type"] == "http.disconnect":
                seen.left.release()
                return
            more = event["more_body"]
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"3")]})
        await send({"type": "http.response.body", "body": b"ok\n"})

    return app


def unread(seen: Seen) -> Asgi:
    """Responds immediately to any request."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"3")]})
        await send({"type": "http.response.body", "body": b"ok\n"})

    return app


def endless(seen: Seen) -> Asgi:
    """Responds endlessly, and records the disconnect of the client."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        seen.begun += 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        left = asyncio.ensure_future(receive())
        while not left.done():
            await send({"type": "http.response.body", "body": b"x" * 100_000, "more_body": True})
            await asyncio.sleep(0)
        seen.left.release()

    return app


@pytest.mark.parametrize(
    "begun", [b"G", b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ", b"POST / HTTP/1.1\r\nHost: x\r\n"]
)
async def test_a_head_that_never_ends_is_refused_and_closed(begun: bytes) -> None:
    seen = Seen()
    async with serving(echo(seen), head=0.1) as port, connected(port) as (reader, writer):
        writer.write(begun)
        assert (await rest(reader)).startswith(b"HTTP/1.1 408 ")
        assert seen.paths == []


async def test_trickled_bytes_do_not_prolong_a_head() -> None:
    async with serving(echo(Seen()), head=0.2) as port, connected(port) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nX-A: ")
        end = asyncio.ensure_future(rest(reader))
        while not end.done():
            writer.write(b"a")
            await asyncio.wait([end], timeout=0.01)
        assert b" 408 " in end.result()


async def test_a_connection_that_says_nothing_is_closed() -> None:
    async with serving(echo(Seen()), head=0.1) as port, connected(port) as (reader, writer):
        writer.write(b"\r\n\r\n")
        assert await rest(reader) == b""


async def test_a_connection_that_rests_is_closed_after_the_idle_time_and_not_before() -> None:
    async with serving(echo(Seen()), idle=0.1, head=60) as port, connected(port) as (reader, writer):
        for _ in range(2):
            writer.write(GET)
            assert b" 200 " in await answered(reader)
        assert await rest(reader) == b""


async def test_a_body_that_never_ends_is_refused_and_its_task_is_notified() -> None:
    seen = Seen()
    async with serving(echo(seen), request=0.1) as port, connected(port) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc")
        assert (await rest(reader)).startswith(b"HTTP/1.1 408 ")
        await seen.left.acquire()


async def test_the_rest_of_a_request_that_was_answered_early_is_not_awaited_for_long() -> None:
    async with serving(unread(Seen()), linger=0.1) as port, connected(port) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc")
        assert b" 200 " in await answered(reader)
        assert await rest(reader) == b""


async def test_a_connection_goes_on_after_the_rest_of_a_request_that_was_answered_early() -> None:
    async with serving(unread(Seen()), linger=60) as port, connected(port) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nabc")
        assert b" 200 " in await answered(reader)
        writer.write(b"def" + GET)
        assert b" 200 " in await answered(reader)


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nX-A: " + b"a" * (HEAD_BYTES + 100) + b"\r\n\r\n",
        b"GET /" + b"a" * (HEAD_BYTES + 100) + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nX-A: " + b"a" * (HEAD_BYTES * 2),
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * (MAX_HEADERS + 1) + b"\r\n",
    ],
    ids=["whole header", "whole url", "header without an end", "many headers"],
)
async def test_a_head_over_the_limit_reaches_nobody(head: bytes) -> None:
    seen = Seen()
    async with serving(echo(seen)) as port, connected(port) as (reader, writer):
        writer.write(head)
        assert (await rest(reader)).startswith(b"HTTP/1.1 431 ")
        assert seen.paths == []


async def test_a_large_body_behind_a_small_head_is_let_through() -> None:
    async with serving(echo(Seen())) as port, connected(port) as (reader, writer):
        body = b"x" * 500_000
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body + GET)
        assert b" 200 " in await answered(reader)
        assert b" 200 " in await answered(reader)


@pytest.mark.parametrize(
    ("begin", "more"), [(b"5;", b"x" * 1000), (b"0\r\n", b"A: b\r\n" * 100)], ids=["extension", "trailers"]
)
async def test_a_chunked_body_cannot_go_on_without_any_body(begin: bytes, more: bytes) -> None:
    async with serving(echo(Seen())) as port, connected(port) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + begin)
        end = asyncio.ensure_future(rest(reader))
        while not end.done() and not writer.is_closing():
            writer.write(more)
            await asyncio.sleep(0)
        await end
        assert b" 200 " not in end.result()


async def test_a_body_in_very_many_pieces_is_put_together_without_copying_it_each_time() -> None:
    bodies: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        bodies.append((await receive())["body"])
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"3")]})
        await send({"type": "http.response.body", "body": b"ok\n"})

    async with serving(app) as port, connected(port) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        writer.write(b"1\r\na\r\n" * 5000 + b"0\r\n\r\n")
        assert b" 200 " in await answered(reader)
    assert (type(bodies[0]), set(bodies[0])) == (bytes, {ord("a")})
    cycle: Any = SimpleNamespace(response_complete=False, body=b"", message_event=SimpleNamespace(set=int))
    connection: Any = SimpleNamespace(cycle=cycle)
    for _ in range(3):
        GuardedHttp.on_body(connection, b"a")
    assert cycle.body == bytearray(b"aaa")
    kept = cycle.body
    GuardedHttp.on_body(connection, b"a")
    assert cycle.body is kept


async def test_a_trailer_is_no_header() -> None:
    seen = Seen()
    async with serving(echo(seen)) as port, connected(port) as (reader, writer):
        writer.write(
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"1\r\na\r\n0\r\nX-Forwarded-For: 10.0.0.1\r\n\r\n"
        )
        assert b" 200 " in await answered(reader)
        assert seen.headers == [[(b"host", b"x"), (b"transfer-encoding", b"chunked")]]


async def test_a_few_pipelined_requests_are_answered_in_order() -> None:
    seen = Seen()
    async with serving(echo(seen)) as port, connected(port) as (reader, writer):
        writer.write(b"".join(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % number for number in range(10)))
        for _ in range(10):
            assert b" 200 " in await answered(reader)
        assert seen.paths == [f"/{number}" for number in range(10)]


async def test_a_flood_of_pipelined_requests_is_cut() -> None:
    seen = Seen()
    async with serving(echo(seen)) as port, connected(port) as (reader, writer):
        writer.write(GET * (MAX_PIPELINED + 100))
        await rest(reader)
        assert len(seen.paths) <= 1


async def test_whoever_leaves_with_requests_waiting_is_known_to_have_left_the_first() -> None:
    seen = Seen()
    async with serving(endless(seen)) as port:
        async with connected(port) as (reader, writer):
            writer.write(GET * 2)
            await reader.read(1000)
        async with asyncio.timeout(50):
            await seen.left.acquire()
        assert seen.begun == 1, "it was the first, and the second was never begun"


async def test_a_client_that_reads_nothing_of_its_answer_is_cut() -> None:
    seen = Seen()
    async with serving(endless(seen), write=0.1) as port, connected(port) as (reader, writer):
        writer.write(GET)
        await seen.left.acquire()
        assert not (await rest(reader)).endswith(b"0\r\n\r\n"), "it was cut, and did not end"


async def test_a_client_that_reads_nothing_of_the_last_answer_is_cut() -> None:
    left = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x" * 20_000_000})

    class WatchedCall(GuardedHttp):
        times = SocketTimes(idle=0.05, write=0.05, look=0.02)

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            left.set()

    config = uvicorn.Config(app, http=WatchedCall, log_level="warning", lifespan="off", ws="none")
    loop, state = asyncio.get_running_loop(), uvicorn.server.ServerState()
    server = await loop.create_server(
        lambda: WatchedCall(config=config, server_state=state, app_state={}), "127.0.0.1", 0
    )
    async with server, connected(server.sockets[0].getsockname()[1]) as (reader, writer):
        writer.write(GET)
        await left.wait()
        assert len(await rest(reader)) < 20_000_000


async def test_a_slow_reader_that_does_read_gets_all_of_it() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": LENGTH})
        await send({"type": "http.response.body", "body": b"x" * 30_000_000})

    async with serving(app, write=1.0) as port, connected(port) as (reader, writer):
        writer.write(b"GET / HTTP/1.0\r\nHost: x\r\n\r\n")
        await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 50)
        assert len(await rest(reader)) == 30_000_000


@pytest.mark.parametrize("begun", [b"", b"GET / HTTP/1.1\r\n"], ids=["rests", "begins"])
async def test_a_new_connection_takes_the_place_of_an_idle_one(begun: bytes) -> None:
    async with serving(echo(Seen()), most=1) as port, connected(port) as (first, writer):
        writer.write(GET)
        assert b" 200 " in await answered(first)
        writer.write(begun)
        async with connected(port) as (second, other):
            other.write(GET)
            assert b" 200 " in await answered(second)
            assert await rest(first) == b""


async def test_past_the_limit_no_one_loses_the_place_that_they_use() -> None:
    seen = Seen()
    async with serving(endless(seen), most=1) as port, connected(port) as (first, writer):
        writer.write(GET)
        await first.readexactly(1000)
        async with connected(port) as (second, _):
            assert await rest(second) == b""
        await first.readexactly(1_000_000)


async def test_what_is_no_http_behind_a_request_ends_its_answer_and_leaves_no_trace_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    seen = Seen()
    async with serving(endless(seen)) as port:
        for _ in range(20):
            async with connected(port) as (reader, writer):
                writer.write(GET)
                await reader.readexactly(1000)
                writer.write(b"\x16\x03\x01\x02\x00")
                await rest(reader)
                await seen.left.acquire()
    assert caplog.records == []


async def test_a_request_behind_one_that_asks_for_an_upgrade_is_answered() -> None:
    seen = Seen()
    async with serving(echo(seen)) as port, connected(port) as (reader, writer):
        writer.write(b"GET /up HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n" + GET)
        for _ in range(2):
            assert b" 200 " in await answered(reader)
        assert seen.paths == ["/up", "/"]


HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n"
LONG = b"Content-Length: %d\r\n\r\n%b" % (len(HIDDEN), HIDDEN)
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(HIDDEN), HIDDEN)
EMPTY = b"Content-Length: 0\r\n\r\n"


@pytest.mark.parametrize("piece", [1, 1000])
@pytest.mark.parametrize(("framed", "expected"), [(LONG, HIDDEN), (CHUNKED, HIDDEN), (EMPTY, b"")])
async def test_the_body_of_a_request_that_asks_for_an_upgrade_is_no_request(
    framed: bytes, expected: bytes, piece: int
) -> None:
    asked: list[tuple[str, bytes]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            event = await receive()
            body, more = body + event["body"], event["more_body"]
        asked.append((scope["path"], body))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"3")]})
        await send({"type": "http.response.body", "body": b"ok\n"})

    head = b"POST /up HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    sent = head + framed + GET
    async with serving(app) as port, connected(port) as (reader, writer):
        for start in range(0, len(sent), piece):
            writer.write(sent[start : start + piece])
            await asyncio.sleep(0)
        for _ in range(2):
            assert b" 200 " in await answered(reader)
    assert asked == [("/up", expected), ("/", b"")]


@pytest.mark.parametrize(
    "head",
    [
        b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n" + LONG,
        b"POST / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: x\r\nTransfer-Encoding: gzip\r\n\r\n",
    ],
)
async def test_what_follows_a_head_that_nobody_can_read_is_no_request(head: bytes) -> None:
    seen = Seen()
    async with serving(echo(seen)) as port, connected(port) as (reader, writer):
        writer.write(head + HIDDEN)
        await rest(reader)
    assert "/hidden" not in seen.paths


async def test_the_system_notices_when_the_other_side_is_gone_without_a_word() -> None:
    made: list[int] = []

    class WatchedCall(GuardedHttp):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            found = transport.get_extra_info("socket")
            made.append(found.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))

    config = uvicorn.Config(echo(Seen()), http=WatchedCall, log_level="warning", lifespan="off", ws="none")
    state = uvicorn.server.ServerState()
    server = await asyncio.get_running_loop().create_server(
        lambda: WatchedCall(config=config, server_state=state, app_state={}), "127.0.0.1", 0
    )
    async with server, connected(server.sockets[0].getsockname()[1]) as (reader, writer):
        writer.write(GET)
        await answered(reader)
    assert made == [1]


async def test_what_is_no_http_gets_400_and_no_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(echo(Seen())) as port, connected(port) as (reader, writer):
        writer.write(b"\x16\x03\x01\x02\x00")
        assert (await rest(reader)).startswith(b"HTTP/1.1 400 ")
    assert caplog.records == []
