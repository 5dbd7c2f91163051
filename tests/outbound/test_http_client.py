"""The outbound client on real sockets: no retries, no unbounded reads, no leaks."""

import asyncio
import datetime as dt
import ipaddress
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from app.outbound.http import (
    AddressPolicy,
    ForbiddenUrl,
    Limits,
    NotForwarded,
    OutboundClient,
    Timeouts,
    UpstreamError,
)

LOOPBACK = AddressPolicy((ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128")))
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Upstream:
    """A server that reads whole requests, answers with raw bytes and records everything."""

    def __init__(self, answer: "Callable[[Upstream, asyncio.StreamWriter], Awaitable[None]] | bytes") -> None:
        self.answer = answer
        self.requests: list[bytes] = []
        self.connections = 0
        self.writers = set[asyncio.StreamWriter]()
        self.closed = asyncio.Event()
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.add(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    (
                        int(line[15:])
                        for line in head.lower().split(b"\r\n")
                        if line.startswith(b"content-length:")
                    ),
                    0,
                )
                self.requests.append(head + await reader.readexactly(length))
                if isinstance(self.answer, bytes):
                    writer.write(self.answer)
                else:
                    await self.answer(self, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # The client went away, which is what many of these tests make it do.
        finally:
            self.closed.set()
            writer.close()


@asynccontextmanager
async def upstream(
    answer: Callable[[Upstream, asyncio.StreamWriter], Awaitable[None]] | bytes,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Upstream]:
    it = Upstream(answer)
    server = await asyncio.start_server(it.serve, "127.0.0.1", 0, ssl=tls)
    scheme, host = ("https", "localhost") if tls else ("http", "127.0.0.1")
    it.url = f"{scheme}://{host}:{server.sockets[0].getsockname()[1]}/mcp?key=hidden"
    try:
        yield it
    finally:
        server.close()
        # From Python 3.12 on, the next line waits for connections that the client keeps.
        for writer in it.writers:
            writer.close()
        await server.wait_closed()


@pytest.fixture
async def client() -> AsyncIterator[OutboundClient]:
    async with OutboundClient(LOOPBACK) as made:
        yield made
    await asyncio.sleep(0)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(50):
        while not condition():  # noqa: ASYNC110  any condition, not an event
            await asyncio.sleep(0.005)


async def fails(awaitable: Awaitable[object]) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        await awaitable
    assert "hidden" not in str(caught.value)
    return caught.value


async def get(client: OutboundClient, url: str, timeouts: Timeouts | None = None) -> bytes:
    return await (await client.request("GET", url, timeouts=timeouts or Timeouts())).read()


async def test_sends_exactly_what_it_was_given_and_reuses_the_connection(client: OutboundClient) -> None:
    async with upstream(b"HTTP/1.1 200 OK\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 2\r\n\r\nok") as up:
        for _ in range(3):
            response = await client.request("POST", up.url, [(b"X-Test", b"\xe9 v")], b'{"a":1}')
            assert (response.status, response.header(b"x-a")) == (200, b"1")
            assert response.headers[:2] == [(b"x-a", b"1"), (b"x-a", b"2")]
            assert await response.read() == b"ok"
        port = up.url.split(":")[2].split("/")[0].encode()
        assert (
            up.requests
            == [
                b"POST /mcp?key=hidden HTTP/1.1\r\nHost: 127.0.0.1:"
                + port
                + b"\r\nAccept-Encoding: identity\r\n"
                b'X-Test: \xe9 v\r\nContent-Length: 7\r\n\r\n{"a":1}'
            ]
            * 3
        )
        assert up.connections == 1


@pytest.mark.parametrize(
    "header",
    [
        (b"X-A", b"1\r\nX-B: 2"),
        (b"X-A", b"1\nX-B: 2"),
        (b"X-A", b"1\r"),
        (b"X-A", b"\x00"),
        (b"X-A: 1\r\nX-B", b"2"),
        (b"X A", b"2"),
        (b"", b"2"),
        (b"Host", b"evil"),
        (b"content-length", b"1"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Accept-Encoding", b"gzip"),
    ],
)
async def test_a_header_that_could_split_the_request_is_refused(
    client: OutboundClient, header: tuple[bytes, bytes]
) -> None:
    async with upstream(OK) as up:
        with pytest.raises(ValueError, match="header"):
            await client.request("POST", up.url, [header])
        assert up.connections == 0


async def test_a_forbidden_address_is_never_connected_to() -> None:
    async with upstream(OK) as up, OutboundClient(AddressPolicy()) as closed:
        for url in (up.url, up.url.replace("127.0.0.1", "localhost"), up.url.replace("127.0.0.1", "127.1")):
            with pytest.raises(ForbiddenUrl):
                await closed.request("GET", url)
        target = LOOPBACK.check_target(up.url)
        with pytest.raises(ForbiddenUrl):
            await closed.request("GET", target)
        assert up.connections == 0


async def test_a_redirect_is_an_answer_and_is_not_followed(client: OutboundClient) -> None:
    async with upstream(OK) as other:
        answer = b"HTTP/1.1 307 x\r\nLocation: " + other.url.encode() + b"\r\nContent-Length: 0\r\n\r\n"
        async with upstream(answer) as up:
            response = await client.request("POST", up.url, (), b"x")
            assert response.status == 307
            assert await response.read() == b""
        assert other.connections == 0


async def test_environment_proxies_and_cookies_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    answer = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n"
    async with upstream(answer) as up, OutboundClient(LOOPBACK) as client:
        await get(client, up.url)
        await get(client, up.url)
        assert not any(b"cookie" in request.lower() for request in up.requests)


async def test_before_send_is_asked_on_a_ready_connection_and_its_no_sends_nothing(
    client: OutboundClient,
) -> None:
    async with upstream(OK) as up:
        seen: list[int] = []

        def no() -> bool:
            seen.append(len(client._pools))
            return False

        with pytest.raises(NotForwarded):
            await client.request("POST", up.url, (), b"x", before_send=no)
        await until(lambda: up.connections == 1)
        assert (seen, up.requests) == ([1], [])
        response = await client.request("POST", up.url, (), b"x", before_send=lambda: True)
        assert await response.read() == b"ok"
        assert (up.connections, len(up.requests)) == (1, 1)


async def test_before_send_that_raises_sends_nothing_and_loses_no_connection() -> None:
    def broken() -> bool:
        raise LookupError

    async with (
        upstream(OK) as up,
        OutboundClient(LOOPBACK, limits=Limits(connections_per_origin=1)) as client,
    ):
        with pytest.raises(LookupError):
            await client.request("POST", up.url, before_send=broken)
        assert await get(client, up.url) == b"ok"


async def test_a_connection_that_ended_while_resting_is_replaced(client: OutboundClient) -> None:
    async def once(_up: Upstream, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        await writer.drain()
        writer.close()

    async with upstream(once) as up:
        for expected in (1, 2, 3):
            assert await get(client, up.url) == b"ok"
            await until(lambda: not client._pools or next(iter(client._pools.values())).empty)
            assert (up.connections, len(up.requests)) == (expected, expected)


def test_an_end_that_the_event_loop_has_not_seen_yet_is_found_before_writing() -> None:
    served: list[bytes] = []

    def serve_once(listener: socket.socket) -> None:
        accepted, _ = listener.accept()
        with accepted:
            served.append(accepted.recv(65536))
            accepted.sendall(OK)

    async def main(listener: socket.socket) -> None:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        async with OutboundClient(LOOPBACK) as client:
            for _ in range(2):
                server = threading.Thread(target=serve_once, args=(listener,))
                server.start()
                assert await get(client, url) == b"ok"
                # The loop is blocked while the server closes, so it cannot have noticed.
                server.join()
                for connection in next(iter(client._pools.values()))._all:
                    connection.idle_since -= 1

    with socket.create_server(("127.0.0.1", 0)) as listener:
        asyncio.run(main(listener))
    assert len(served) == 2


async def test_what_may_have_been_sent_is_not_sent_again(client: OutboundClient) -> None:
    async def second_dies(up: Upstream, writer: asyncio.StreamWriter) -> None:
        if len(up.requests) == 1:
            writer.write(OK)
        else:
            writer.transport.abort()

    async with upstream(second_dies) as up:
        assert await get(client, up.url) == b"ok"
        error = await fails(get(client, up.url))
        assert (error.kind, error.may_have_been_sent) == ("closed", True)
        assert len(up.requests) == 2


async def test_nobody_at_the_address_is_an_error_with_nothing_sent(client: OutboundClient) -> None:
    async with upstream(OK) as up:
        url = up.url
    error = await fails(client.request("GET", url))
    assert (error.kind, error.may_have_been_sent) == ("connect", False)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"garbage\r\n\r\n", "protocol"),
        (b"HTTP/2 200 OK\r\n\r\n", "protocol"),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "protocol"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "protocol"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
            "protocol",
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "protocol"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "protocol"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nok", "compressed"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "compressed"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 40_000 + b"\r\nContent-Length: 0\r\n\r\n", "too_large"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 400_000, "too_large"),
        (b"HTTP/1.1 200 " + b"a" * 400_000, "too_large"),
        (b"HTTP/1.1 100 Continue\r\nX: abcdefgh\r\n\r\n" * 10_000, "too_large"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nT: " + b"a" * 400_000, "too_large"),
    ],
)
async def test_an_unacceptable_answer_is_an_error_and_ends_the_connection(
    client: OutboundClient, answer: bytes, kind: str
) -> None:
    async with upstream(answer) as up:
        assert (await fails(get(client, up.url))).kind == kind
        async with asyncio.timeout(50):
            await up.closed.wait()


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\nT: 1\r\n\r\n",
            b"abc",
        ),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + OK, b"ok"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n", b""),
    ],
)
async def test_forms_of_an_answer_that_keep_the_connection(
    client: OutboundClient, answer: bytes, body: bytes
) -> None:
    async with upstream(answer) as up:
        assert await get(client, up.url) == body
        assert await get(client, up.url) == body
        assert up.connections == 1


@pytest.mark.parametrize(
    "answer",
    [
        OK + OK,
        OK + b"x",
        OK + b"HTTP/1.1 2",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ],
)
async def test_a_connection_with_anything_behind_the_answer_is_not_used_again(
    client: OutboundClient, answer: bytes
) -> None:
    async with upstream(answer) as up:
        assert await get(client, up.url) == b"ok"
        assert await get(client, up.url) == b"ok"
        assert up.connections == 2


async def test_late_bytes_on_a_resting_connection_are_nobodys_answer(client: OutboundClient) -> None:
    async def twice(_up: Upstream, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.write(OK.replace(b"ok", b"no"))

    async with upstream(twice) as up:
        for _ in range(2):
            assert await get(client, up.url) == b"ok"
            async with asyncio.timeout(50):
                await up.closed.wait()
            up.closed.clear()
        assert up.connections == 2


async def test_an_answer_without_length_ends_with_the_connection(client: OutboundClient) -> None:
    async def until_end(_up: Upstream, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nabc")
        writer.close()

    async with upstream(until_end) as up:
        assert await get(client, up.url) == b"abc"


@pytest.mark.parametrize(
    "part",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ],
)
async def test_half_an_answer_is_an_error(client: OutboundClient, part: bytes) -> None:
    async def half(_up: Upstream, writer: asyncio.StreamWriter) -> None:
        writer.write(part)
        await writer.drain()
        writer.close()

    async with upstream(half) as up:
        assert (await fails(get(client, up.url))).kind == "closed"


async def test_a_body_past_the_cap_is_refused_and_cut(client: OutboundClient) -> None:
    async def endless(_up: Upstream, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"1000\r\n" + b"x" * 4096 + b"\r\n")
            await writer.drain()

    async with upstream(endless) as up:
        response = await client.request("GET", up.url)
        assert (await fails(response.read(100_000))).kind == "too_large"
        async with asyncio.timeout(50):
            await up.closed.wait()


async def test_a_reader_that_does_not_read_holds_the_upstream_back(client: OutboundClient) -> None:
    sent = 0
    total = 64 * 1024 * 1024

    async def flood(_up: Upstream, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
        while sent < total:
            writer.write(b"x" * 65536)
            sent += 65536
            await writer.drain()

    async with upstream(flood) as up:
        response = await client.request("GET", up.url)
        before = -1
        while before != sent:  # Until nothing moves any more: buffers of the kernel are full.
            before = sent
            await asyncio.sleep(0.1)
        assert sent < total / 2
        assert response._buffered < 1024 * 1024
        received = 0
        async with aclosing(response.iter_chunks()) as chunks:
            async for chunk in chunks:
                received += len(chunk)
        assert received == total
        assert up.connections == 1


@pytest.mark.parametrize(
    ("timeouts", "answer"),
    [
        (Timeouts(first_byte=0.15), b""),
        (Timeouts(first_byte=0.15), b"HTTP/1.1 200 OK\r\nContent-"),
        (Timeouts(idle=0.15), b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"),
        # Connecting is part of the total time.
        (Timeouts(total=1.0), b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"),
    ],
)
async def test_a_slow_upstream_is_cut(client: OutboundClient, timeouts: Timeouts, answer: bytes) -> None:
    async with upstream(answer) as up:
        error = await fails(get(client, up.url, timeouts))
        assert (error.kind, error.may_have_been_sent) == ("timeout", True)
        async with asyncio.timeout(50):
            await up.closed.wait()


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"])
async def test_cancelling_the_caller_cuts_the_upstream(client: OutboundClient, answer: bytes) -> None:
    async with upstream(answer) as up:
        task = asyncio.create_task(get(client, up.url))
        await until(lambda: bool(up.requests))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(50):
            await up.closed.wait()


async def test_closing_an_answer_cuts_the_upstream_and_wakes_its_reader(client: OutboundClient) -> None:
    async with upstream(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc") as up:
        response = await client.request("GET", up.url)
        task = asyncio.create_task(response.read())
        await asyncio.sleep(0.02)
        response.close()
        response.close()
        assert (await fails(task)).kind == "closed"
        async with asyncio.timeout(50):
            await up.closed.wait()


async def test_closing_a_complete_answer_keeps_the_connection(client: OutboundClient) -> None:
    async with upstream(OK) as up:
        for _ in range(3):
            (await client.request("GET", up.url)).close()
        assert await get(client, up.url) == b"ok"
        assert up.connections == 1


async def test_no_more_connections_than_the_limit_and_waiters_are_served() -> None:
    limits = Limits(connections_per_origin=3)
    async with upstream(OK) as up, OutboundClient(LOOPBACK, limits=limits) as client:
        answers = await asyncio.gather(*(get(client, up.url) for _ in range(200)))
        assert answers == [b"ok"] * 200
        assert up.connections == 3


async def test_a_full_pool_says_busy_and_recovers_from_cancelled_waiters() -> None:
    async with (
        upstream(b"") as up,
        OutboundClient(LOOPBACK, limits=Limits(connections_per_origin=1)) as client,
    ):
        held = asyncio.create_task(get(client, up.url))
        await until(lambda: bool(up.requests))
        error = await fails(get(client, up.url, Timeouts(connect=0.05)))
        assert (error.kind, error.may_have_been_sent) == ("busy", False)
        waiters = [asyncio.create_task(get(client, up.url)) for _ in range(5)]
        await asyncio.sleep(0.02)
        held.cancel()
        for waiter in waiters[:4]:
            waiter.cancel()
        await asyncio.gather(held, *waiters[:4], return_exceptions=True)
        up.answer = OK
        await until(lambda: len(up.requests) >= 1)
        waiters[4].cancel()
        await asyncio.gather(waiters[4], return_exceptions=True)
        assert await get(client, up.url) == b"ok"


async def test_random_cancellations_lose_no_place_and_mix_up_no_answers() -> None:
    async def echo(up: Upstream, writer: asyncio.StreamWriter) -> None:
        body = up.requests[-1].partition(b"\r\n\r\n")[2]
        await asyncio.sleep(0.001 * (len(body) % 3))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    async def call(client: OutboundClient, url: str, number: int) -> None:
        body = b"x" * (number % 7) + str(number).encode()
        response = await client.request("POST", url, (), body)
        assert await response.read() == body

    # Requests interleave on the server, so each connection must answer from its own request.
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await Upstream(echo).serve(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with OutboundClient(LOOPBACK, limits=Limits(connections_per_origin=4)) as client:
        tasks = [asyncio.create_task(call(client, url, number)) for number in range(300)]
        for number, task in enumerate(tasks):
            if number % 3 == 0:
                await asyncio.sleep(0.0005 * (number % 4))
                task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(result is None or isinstance(result, asyncio.CancelledError) for result in results)
        await asyncio.gather(*(call(client, url, number) for number in range(20)))
        assert client._pools[next(iter(client._pools))]._size <= 4
    server.close()
    await server.wait_closed()


async def test_resting_connections_are_closed_and_empty_pools_forgotten() -> None:
    async with upstream(OK) as up, OutboundClient(LOOPBACK, limits=Limits(idle_connection=0.1)) as client:
        assert await get(client, up.url) == b"ok"
        async with asyncio.timeout(50):
            await up.closed.wait()
        await until(lambda: not client._pools)


async def test_a_closed_client_sends_nothing() -> None:
    async with upstream(OK) as up:
        client = OutboundClient(LOOPBACK)
        await client.aclose()
        assert (await fails(client.request("GET", up.url))).may_have_been_sent is False
        assert up.connections == 0


def certificate(folder: Path, name: str) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    now = dt.datetime.now(dt.UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "certificate.pem"
    private = serialization.NoEncryption()
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, private)
        + made.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


async def test_tls_checks_the_name_although_the_address_is_connected_to(tmp_path: Path) -> None:
    tls = certificate(tmp_path, "localhost")
    trusting = ssl.create_default_context(cafile=str(tmp_path / "certificate.pem"))
    async with upstream(OK, tls) as up:
        async with OutboundClient(LOOPBACK, ssl_context=trusting) as client:
            assert await get(client, up.url) == b"ok"
            assert await get(client, up.url) == b"ok"
            assert up.connections == 1
            assert (await fails(get(client, up.url.replace("localhost", "127.0.0.1")))).kind == "tls"
        async with OutboundClient(LOOPBACK) as client:
            error = await fails(get(client, up.url))
            assert (error.kind, error.may_have_been_sent) == ("tls", False)
        assert len(up.requests) == 2
