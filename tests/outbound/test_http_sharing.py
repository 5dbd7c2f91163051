"""Callers share the connections to an upstream, and upstreams that do not answer are paused."""

import asyncio
import ipaddress
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from app.outbound.http import (
    AddressPolicy,
    Limits,
    NotForwarded,
    OutboundClient,
    OutboundResponse,
    Timeouts,
    UpstreamError,
)
from app.outbound.http.client import FIRST_PAUSE_S, MAX_PAUSE_S, Breaker
from app.outbound.http.connection import PIECE_BYTES
from tests.ports import free_port

LOOPBACK = AddressPolicy((ipaddress.ip_network("127.0.0.0/8"),))
FLOODER, OTHER, THIRD = 1, 2, 3
SOON, PATIENT = Timeouts(connect=0.05), Timeouts(first_byte=15)


@dataclass
class Upstream:
    """Holds requests to ``/slow`` until they are released; answers others with ``status``, or not at all."""

    url: str = ""
    status: int | None = 200
    held: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    go: asyncio.Event = field(default_factory=asyncio.Event)
    seen: int = 0
    writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.add(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.seen += 1
                if b"/slow " in head:
                    self.held.release()
                    await self.go.wait()
                elif self.status is None:
                    return
                writer.write(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % (self.status or 200))
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


@asynccontextmanager
async def upstream() -> AsyncIterator[Upstream]:
    it = Upstream()
    server = await asyncio.start_server(it.serve, "127.0.0.1", 0)
    it.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield it
    finally:
        it.go.set()
        server.close()
        # From Python 3.12 on, the next line waits for connections that the client keeps.
        for writer in it.writers:
            writer.close()
        await server.wait_closed()


@asynccontextmanager
async def client(all_of_them: int = 8, share: int = 2) -> AsyncIterator[OutboundClient]:
    limits = Limits(connections_per_origin=all_of_them, connections_per_caller=share)
    async with OutboundClient(LOOPBACK, limits=limits) as made, asyncio.timeout(50):
        yield made
    await asyncio.sleep(0)


async def ask(out: OutboundClient, url: str, caller: int | None, timeouts: Timeouts = PATIENT) -> int:
    response = await out.request("POST", url, timeouts=timeouts, caller=caller)
    await response.read()
    return response.status


async def hold(out: OutboundClient, up: Upstream, caller: int, count: int) -> list[asyncio.Task[int]]:
    tasks = [asyncio.create_task(ask(out, up.url + "/slow", caller)) for _ in range(count)]
    for _ in range(count):
        await up.held.acquire()
    return tasks


async def test_one_caller_uses_a_share_of_the_connections_and_others_go_on() -> None:
    async with upstream() as up, client() as out:
        held = await hold(out, up, FLOODER, 2)
        with pytest.raises(UpstreamError) as busy:
            await ask(out, up.url, FLOODER, SOON)
        assert (busy.value.kind, busy.value.may_have_been_sent) == ("busy", False)
        assert await ask(out, up.url, OTHER) == 200
        assert await ask(out, up.url, None) == 200
        up.go.set()
        assert await asyncio.gather(*held) == [200, 200]
        assert await ask(out, up.url, FLOODER, SOON) == 200


async def test_a_share_also_holds_for_connections_that_rest() -> None:
    async with upstream() as up, client() as out:
        await asyncio.gather(*(ask(out, up.url, caller) for caller in range(10, 16)))
        held = await hold(out, up, FLOODER, 2)
        with pytest.raises(UpstreamError):
            await ask(out, up.url, FLOODER, SOON)
        up.go.set()
        await asyncio.gather(*held)


async def test_who_waits_for_their_own_share_is_served_when_it_is_free() -> None:
    async with upstream() as up, client() as out:
        held = await hold(out, up, FLOODER, 2)
        waiting = asyncio.create_task(ask(out, up.url, FLOODER))
        up.go.set()
        assert await waiting == 200
        await asyncio.gather(*held)


async def test_callers_who_wait_are_served_in_turns() -> None:
    async with upstream() as up, client(all_of_them=1, share=1) as out:
        held = await hold(out, up, THIRD, 1)
        order: list[int] = []

        async def waits(caller: int) -> None:
            await ask(out, up.url, caller)
            order.append(caller)

        waiting = []
        for caller in (FLOODER, FLOODER, FLOODER, OTHER):
            waiting.append(asyncio.create_task(waits(caller)))
            await asyncio.sleep(0)
        up.go.set()
        await asyncio.gather(*held, *waiting)
        assert order == [FLOODER, OTHER, FLOODER, FLOODER]


async def test_who_gives_up_waiting_leaves_no_trace() -> None:
    async with upstream() as up, client(all_of_them=1, share=1) as out:
        held = await hold(out, up, FLOODER, 1)
        for caller in (FLOODER, OTHER):
            with pytest.raises(UpstreamError):
                await ask(out, up.url, caller, SOON)
            gone = asyncio.create_task(ask(out, up.url, caller))
            await asyncio.sleep(0)
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)
        up.go.set()
        await asyncio.gather(*held)
        for caller in (FLOODER, OTHER, THIRD):
            assert await ask(out, up.url, caller) == 200


async def test_many_may_give_up_waiting_in_one_moment() -> None:
    async with upstream() as up, client(all_of_them=1, share=1) as out:
        held = await hold(out, up, FLOODER, 1)
        waiting = [asyncio.create_task(ask(out, up.url, OTHER)) for _ in range(2000)]
        await asyncio.sleep(0)
        [pool] = out._pools.values()
        [connection] = pool._all
        for task in waiting:
            task.cancel()
        # Before any of them can report it.
        connection._fail("timeout", "")
        await asyncio.gather(*held, *waiting, return_exceptions=True)
        assert await ask(out, up.url, OTHER, SOON) == 200


@pytest.mark.parametrize("way", ["answered", "cut", "refused", "cancelled", "unreachable", "closed"])
async def test_a_share_is_given_back_however_a_request_ends(way: str) -> None:
    async with upstream() as up, client(share=1) as out:
        url = up.url
        if way == "unreachable":
            url = nobody_there()
        for _ in range(4):
            if way == "answered":
                await ask(out, url, FLOODER)
            elif way == "cut":
                (await out.request("GET", url, caller=FLOODER)).close()
            elif way == "refused":
                with pytest.raises(NotForwarded):
                    await out.request("GET", url, caller=FLOODER, before_send=lambda: False)
            elif way == "cancelled":
                [task] = await hold(out, up, FLOODER, 1)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            else:
                up.status = None
                with pytest.raises(UpstreamError):
                    await ask(out, url, FLOODER)
        up.status = 200
        assert await ask(out, up.url, FLOODER, SOON) == 200


class Clock:
    """A clock that stands still."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def watched() -> AsyncIterator[tuple[OutboundClient, Clock]]:
    clock = Clock()
    async with client(share=8) as out:
        out.breaker = Breaker(clock)
        yield out, clock


async def kind(out: OutboundClient, url: str, caller: int) -> str:
    with pytest.raises(UpstreamError) as caught:
        await ask(out, url, caller)
    return caught.value.kind


def nobody_there() -> str:
    return f"http://127.0.0.1:{free_port()}"


async def test_an_upstream_that_cannot_be_reached_is_left_alone_and_tried_again() -> None:
    async with watched() as (out, clock):
        url = nobody_there()
        assert [await kind(out, url, FLOODER) for _ in range(7)] == ["connect"] * 5 + ["unavailable"] * 2
        assert out.breaker.warnings() == ["1 server does not answer at present; the log names them"]
        pause = FIRST_PAUSE_S
        for _ in range(8):
            clock.now += pause
            assert await kind(out, url, OTHER) == "connect", "one call goes and sees"
            assert await kind(out, url, OTHER) == "unavailable"
            pause = min(pause * 2, MAX_PAUSE_S)
            clock.now += pause - 0.1
            assert await kind(out, url, OTHER) == "unavailable", "the pause is longer each time"
            clock.now -= pause - 0.1
        clock.now += pause
        target = out.policy.check_target(url)
        out.breaker.check(target, OTHER, asks=True)
        with pytest.raises(UpstreamError):
            out.breaker.check(target, OTHER, asks=True)  # While the first is on its way.


async def test_an_upstream_that_is_back_is_used_again_at_once(caplog: pytest.LogCaptureFixture) -> None:
    async with watched() as (out, clock), upstream() as up:
        target = out.policy.check_target(up.url)
        error = UpstreamError("connect", "", may_have_been_sent=False)
        with caplog.at_level(logging.WARNING):
            for _ in range(5):
                out.breaker.failed(target, FLOODER, error, asks=True)
            assert await kind(out, up.url, OTHER) == "unavailable"
            clock.now += FIRST_PAUSE_S
            for _ in range(3):
                assert await ask(out, up.url, OTHER) == 200
        assert (bool(out.breaker.failures), out.breaker.warnings()) == (False, [])
        assert [record.getMessage().split(" at ")[0] for record in caplog.records] == ["the upstream"] * 2


async def test_what_one_caller_provokes_never_shuts_an_upstream_for_others() -> None:
    async with watched() as (out, _), upstream() as up:
        up.status = None
        assert [await kind(out, up.url, FLOODER) for _ in range(20)] == ["closed"] * 20
        for up.status in (502, 503, 504):
            assert [await ask(out, up.url, FLOODER) for _ in range(10)] == [up.status] * 10
        up.status = None
        assert await kind(out, up.url, OTHER) == "closed"
        up.status = 500
        assert await ask(out, up.url, OTHER) == 500


async def test_an_upstream_that_answers_several_callers_nothing_is_left_alone() -> None:
    async with watched() as (out, _), upstream() as up:
        up.status = None
        callers = (FLOODER, OTHER, THIRD)
        assert [await kind(out, up.url, caller) for caller in callers] == ["closed"] * 3
        assert await kind(out, up.url, 4) == "unavailable"
        assert up.seen == 3
        assert await kind(out, up.url + "/another-server", 4) == "closed", "its neighbours are not meant"


async def test_one_caller_cannot_be_all_that_goes_and_sees() -> None:
    async with watched() as (out, clock), upstream() as up:
        up.status = None
        for caller in (FLOODER, OTHER, THIRD):
            assert await kind(out, up.url, caller) == "closed"
        clock.now += FIRST_PAUSE_S
        assert await kind(out, up.url, FLOODER) == "closed", "one call goes and sees"
        up.status = 200
        clock.now += 2 * FIRST_PAUSE_S
        with pytest.raises(UpstreamError) as caught:
            await ask(out, up.url, FLOODER)
        assert (caught.value.kind, caught.value.retry_after_s) == ("unavailable", 2), (
            "it is the turn of others"
        )
        assert await ask(out, up.url, 4) == 200
        assert await ask(out, up.url, FLOODER) == 200


async def test_a_stream_that_is_told_nothing_says_nothing_about_its_upstream() -> None:
    async with watched() as (out, clock), upstream() as up:
        up.status = None
        for caller in range(10, 20):
            with pytest.raises(UpstreamError) as caught:
                await out.request("GET", up.url, caller=caller)
            assert caught.value.kind == "closed"
        assert not out.breaker.failures
        for caller in (FLOODER, OTHER, THIRD):
            assert await kind(out, up.url, caller) == "closed"
        clock.now += FIRST_PAUSE_S
        up.status = 200
        with pytest.raises(UpstreamError) as caught:
            await out.request("GET", up.url, caller=FLOODER)
        assert caught.value.kind == "unavailable", "it is no look whether the upstream is back"
        assert await ask(out, up.url, OTHER) == 200


async def test_any_answer_in_between_clears_an_upstream() -> None:
    async with watched() as (out, _), upstream() as up:
        for _ in range(3):
            for up.status, caller in ((None, FLOODER), (503, OTHER), (404, THIRD)):
                await asyncio.gather(ask(out, up.url, caller), return_exceptions=True)
        assert not out.breaker.failures
        assert up.seen == 9


async def test_the_service_s_own_requests_neither_shut_an_upstream_nor_are_kept_from_it() -> None:
    async with watched() as (out, _):
        url = nobody_there()
        for _ in range(9):
            with pytest.raises(UpstreamError) as caught:
                await ask(out, url, None)
            assert caught.value.kind == "connect"
        assert not out.breaker.failures


async def test_the_system_notices_when_an_upstream_is_gone_without_a_word() -> None:
    async with upstream() as up, client() as out:
        await ask(out, up.url, None)
        [pool] = out._pools.values()
        [connection] = pool._all
        assert connection._transport is not None
        found = connection._transport.get_extra_info("socket")
        assert found.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1


async def test_an_answer_that_never_pauses_leaves_others_their_turn() -> None:
    leg: Any = SimpleNamespace(pause=lambda: None, resume=lambda: None, abort=lambda: None)
    response = OutboundResponse(200, [], leg, Limits())
    sent = [b"a" * 1_000_000, *[b"b"] * 100]
    for piece in sent:
        response.on_data(piece)
    response.on_complete()
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(others())
    got = [piece async for piece in response.iter_chunks()]
    counting.cancel()
    assert b"".join(got) == b"".join(sent)
    assert max(len(piece) for piece in got) == PIECE_BYTES
    assert turns >= len(got) - 1
