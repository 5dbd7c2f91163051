"""One server is slow, silent or endless while everyone calls it; calls to other servers are compared with before."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from tests.faults.database_proxy import Fault
from tests.faults.rig.gauges import sampled
from tests.faults.rig.history import Period
from tests.faults.rig.recorder import FLOODS
from tests.faults.rig.site import Site
from tests.faults.upstream import ECHO

_BEFORE_S = _DURING_S = 8.0
_SAMPLE_S = 0.5
_CALLERS = 12
_UNREAD, _READ = 2, 1
_SLOW_S = 0.5
_BETWEEN_S = 0.05


def neighbor_fault(how: str) -> Callable[[Site, int], Awaitable[None]]:
    """What is wrong with the neighbor's server: ``slow``, ``silent`` or ``flood``."""

    async def strike(here: Site, times: int) -> None:
        for _ in range(times):
            before = time.monotonic()
            async with sampled(here, _SAMPLE_S):
                await asyncio.sleep(_BEFORE_S)
                with here.disturbance(f"upstream-neighbor-{how}", servers=[here.neighbor.slug]):
                    began = time.monotonic()
                    async with _DIFFICULT[how](here):
                        await asyncio.sleep(_DURING_S)
                        ended = time.monotonic()
            here.writer.write(Period(f"neighbor-{how}", before, began, ended, [here.neighbor.slug]))
            await here.resumed()

    return strike


@asynccontextmanager
async def _called(here: Site) -> AsyncIterator[None]:
    """Many call the neighbor's server, and wait for as long as it takes."""
    over, token = False, here.neighbor.full
    assert token is not None

    async def go_on(port: int) -> None:
        while not over:
            await here.callers.call(port, token, ECHO)
            await asyncio.sleep(_BETWEEN_S)

    calling = [asyncio.create_task(go_on(port)) for port in here.ports for _ in range(_CALLERS)]
    try:
        yield
    finally:
        over = True
        await asyncio.gather(*calling)


@asynccontextmanager
async def _slow(here: Site) -> AsyncIterator[None]:
    async with _called(here):
        here.neighbor_way.delay_s = _SLOW_S
        try:
            yield
        finally:
            here.neighbor_way.delay_s = 0.0


@asynccontextmanager
async def _silent(here: Site) -> AsyncIterator[None]:
    async with _called(here):
        await here.neighbor_way.begin(Fault.HOLD)
        try:
            yield
        finally:
            await here.neighbor_way.end()


@asynccontextmanager
async def _flood(here: Site) -> AsyncIterator[None]:
    """Some read all of it, and some nothing."""
    until, token = asyncio.Event(), here.neighbor.full
    assert token is not None
    streams = [here.callers.stream(port, token, FLOODS, until) for port in here.ports for _ in range(_READ)]
    streams += [
        here.callers.unread(port, token, FLOODS, until) for port in here.ports for _ in range(_UNREAD)
    ]
    flowing = [asyncio.create_task(stream) for stream in streams]
    try:
        yield
    finally:
        until.set()
        await asyncio.gather(*flowing)


_DIFFICULT: dict[str, Callable[[Site], AbstractAsyncContextManager[None]]] = {
    "slow": _slow,
    "silent": _silent,
    "flood": _flood,
}
NEIGHBORS = tuple(_DIFFICULT)
