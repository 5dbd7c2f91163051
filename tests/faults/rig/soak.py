"""A long load without faults, to check that the resources of gateways do not grow."""

import asyncio
import time

import httpx2

from tests.faults.rig.gauges import sampled
from tests.faults.rig.history import Period
from tests.faults.rig.site import Site
from tests.faults.rig.steadiness import SOAK
from tests.faults.rig.withdrawals import revoke
from tests.gateway.messages import LEGACY, initialize

_SAMPLES = 120
_WARM = 0.25
_WARM_AT_MOST_S = 600.0
_BETWEEN_S = 0.5
_SESSION = "mcp-session-id"
_HEADERS = {"accept": "application/json, text/event-stream"}


async def soak(here: Site, seconds: int) -> None:
    """So many seconds of calls, streams, revocations by every path, and sessions that are opened and ended."""
    before = time.monotonic()
    over = asyncio.Event()
    working = [asyncio.create_task(_revoked(here, over)), asyncio.create_task(_in_sessions(here, over))]
    async with sampled(here, max(0.5, seconds / _SAMPLES)):
        await asyncio.sleep(seconds)
    ended = time.monotonic()
    over.set()
    await asyncio.gather(*working)
    # What is imported and cached once has come by then.
    warm = before + min(_WARM * seconds, _WARM_AT_MOST_S)
    here.writer.write(Period(SOAK, before, warm, ended))
    here.struck[SOAK] += 1


async def _revoked(here: Site, over: asyncio.Event) -> None:
    while not over.is_set():
        await revoke(here)
        here.struck["revocation"] += 1
        await asyncio.sleep(_BETWEEN_S)


async def _in_sessions(here: Site, over: asyncio.Event) -> None:
    """Sessions of the older protocol with the gateway itself, each of which is ended again."""
    async with httpx2.AsyncClient(timeout=10) as client:
        while not over.is_set():
            for gateway in here.office.serving():
                cell = here.random.choice(here.fleet.cells)
                token = here.random.choice(cell.live)
                headers = _HEADERS | {"authorization": f"Bearer {token.way.secret}"}
                opened = await client.post(f"{gateway.url}/mcp", json=initialize(), headers=headers)
                session = opened.headers.get(_SESSION)
                # Its token may be over by then.
                if session is not None:
                    headers |= {_SESSION: session, "mcp-protocol-version": LEGACY}
                    await client.delete(f"{gateway.url}/mcp", headers=headers)
                    here.struck["session opened and ended"] += 1
            await asyncio.sleep(_BETWEEN_S)
