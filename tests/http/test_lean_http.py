"""The lean server protocol says what uvicorn's says, to real sockets."""

import asyncio
from typing import Any

import pytest

from tests.http.test_server_protocol import connected, rest, serving

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
LINES = b"content-type: application/json\r\n"


def answering(*events: dict[str, Any]) -> Any:
    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        for event in events:
            await send(event)

    return app


def start(*headers: tuple[bytes, bytes], status: int = 200) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def body(data: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


async def at_once(scope: Any, receive: Any, send: Any) -> None:
    """Answers the path it was asked for, in one go."""
    await receive()
    text = scope["path"].encode()
    if not send.at_once(200, LINES, text):
        await send(start((b"content-length", b"%d" % len(text)), (b"x-way", b"long")))
        await send(body(text))


async def send_request(app: Any, request: bytes) -> tuple[bytes, bytes]:
    """Head and body of what is answered before the connection ends."""
    async with serving(app) as port, connected(port) as (reader, writer):
        writer.write(request)
        head, _, content = (await rest(reader)).partition(b"\r\n\r\n")
        return head.lower(), content


async def test_a_body_with_a_length_follows_its_head_as_it_is() -> None:
    head, content = await send_request(answering(start((b"content-length", b"2")), body(b"ok")), LAST)
    assert head.startswith(b"http/1.1 200 ok\r\ndate: ")
    assert b"connection: close" in head
    assert content == b"ok"


async def test_a_body_without_a_length_is_chunked_and_ends() -> None:
    pieces = (body(b"one", more=True), body(b"", more=True), body(b"two"))
    head, content = await send_request(answering(start(), *pieces), LAST)
    assert b"transfer-encoding: chunked" in head
    assert content == b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"


async def test_an_answer_to_head_has_no_body_but_its_length() -> None:
    request = LAST.replace(b"GET", b"HEAD")
    for app in (answering(start((b"content-length", b"2")), body(b"ok")), at_once):
        head, content = await send_request(app, request)
        assert b"content-length: " in head
        assert content == b""


@pytest.mark.parametrize("status", [204, 304])
async def test_an_answer_that_may_have_no_body_is_not_chunked(status: int) -> None:
    head, content = await send_request(answering(start(status=status), body(b"")), LAST)
    assert b"chunked" not in head
    assert content == b""


@pytest.mark.parametrize(
    "header",
    [
        (b"x", b"a\r\nset-cookie: b"),
        (b"x\r\ny", b"a"),
        (b"x y", b"a"),
        (b"x", b"a\0"),
        (b"Content-Length", b"9"),
    ],
)
@pytest.mark.filterwarnings("ignore")
async def test_no_header_adds_another_or_hides_in_capitals(header: tuple[bytes, bytes]) -> None:
    head, content = await send_request(answering(start(header), body(b"ok")), GET)
    assert head.startswith(b"http/1.1 500")
    assert b"set-cookie" not in head
    assert content == b"Internal Server Error"


@pytest.mark.parametrize("length", [b"1", b"3"])
async def test_an_answer_of_another_length_than_it_says_ends_the_connection(length: bytes) -> None:
    assert await send_request(answering(start((b"content-length", length)), body(b"ok")), GET) == (b"", b"")


async def test_a_fault_before_the_answer_is_a_500_and_one_within_it_ends_the_connection() -> None:
    async def fails(_scope: Any, _receive: Any, _send: Any) -> None:
        raise ValueError

    assert (await send_request(fails, GET))[0].startswith(b"http/1.1 500")
    assert (await send_request(answering(), GET))[0].startswith(b"http/1.1 500")
    head, content = await send_request(answering(start(), body(b"half", more=True)), GET)
    assert head.startswith(b"http/1.1 200")
    assert content == b"4\r\nhalf\r\n"


async def test_a_client_that_asks_first_is_told_to_go_on_when_its_body_is_wanted() -> None:
    async def echo(_scope: Any, receive: Any, send: Any) -> None:
        event = await receive()
        await send(start((b"content-length", b"%d" % len(event["body"]))))
        await send(body(event["body"]))

    async with serving(echo) as port, connected(port) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"ok")
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("way", ["at once", "long"])
async def test_a_client_that_asked_first_and_got_no_answer_is_not_kept(way: str) -> None:
    async def refuses(_scope: Any, _receive: Any, send: Any) -> None:
        if way == "long" or not send.at_once(401, LINES, b"no"):
            await send(start((b"content-length", b"2"), status=401))
            await send(body(b"no"))

    asked = b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 30\r\n\r\n"
    head, content = await send_request(refuses, asked)
    assert head.startswith(b"http/1.1 401")
    assert b"connection: close" in head
    assert content == b"no"


async def test_pipelined_requests_are_answered_in_turn_and_at_once() -> None:
    request = b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n"
    async with serving(at_once) as port, connected(port) as (reader, writer):
        writer.write(b"".join(request % number for number in range(5)))
        for number in range(5):
            head = await reader.readuntil(b"\r\n\r\n")
            assert LINES in head
            assert await reader.readexactly(2) == b"/%d" % number


async def test_a_body_that_is_here_can_be_taken_whole_and_once() -> None:
    async def app(_scope: Any, receive: Any, send: Any) -> None:
        whole = send.whole_body()
        assert send.whole_body() is None
        if whole is None:
            whole, more = b"waited for ", True
            while more:
                event = await receive()
                whole, more = whole + event["body"], event["more_body"]
        send.at_once(200, LINES, whole)

    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n"
    async with serving(app) as port, connected(port) as (reader, writer):
        writer.write(head + b"ok")
        assert (await reader.readuntil(b"ok")).endswith(b"\r\n\r\nok")
        writer.write(head + b"o")
        await writer.drain()
        writer.write(b"k")
        assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
        await reader.readuntil(b"ok")


async def test_an_answer_after_which_the_connection_ends_takes_the_long_way() -> None:
    head, content = await send_request(at_once, LAST)
    assert b"x-way: long" in head
    assert b"connection: close" in head
    assert content == b"/"


async def test_a_client_that_left_is_told_of_to_an_application_that_listens() -> None:
    left = asyncio.Event()

    async def waits(_scope: Any, receive: Any, _send: Any) -> None:
        await receive()
        assert (await receive())["type"] == "http.disconnect"
        left.set()

    async with serving(waits) as port, connected(port) as (_, writer):
        writer.write(GET)
        await writer.drain()
        writer.transport.abort()
        async with asyncio.timeout(50):
            await left.wait()


async def test_what_came_while_nobody_listened_is_told_once() -> None:
    listens, half, left = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        listens.set()
        assert (await receive())["body"] == b"o"
        half.set()
        while send.more_body:  # noqa: ASYNC110  only listeners are notified
            await asyncio.sleep(0)
        assert (await receive())["body"] == b"k"
        listens.set()
        assert (await receive())["type"] == "http.disconnect"
        left.set()

    async with serving(app) as port, connected(port) as (_, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n")
        await listens.wait()
        listens.clear()
        writer.write(b"o")
        await half.wait()
        writer.write(b"k")
        await listens.wait()
        writer.transport.abort()
        async with asyncio.timeout(50):
            await left.wait()
