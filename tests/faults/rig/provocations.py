"""Brings gateways to failpoints that the load alone rarely reaches."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from uuid import uuid4

from tests.faults.harness import fetch
from tests.faults.rig.office import DONE_BEFORE
from tests.faults.rig.processes import RigGateway
from tests.faults.rig.recorder import HOOK, SINK
from tests.faults.rig.site import Site
from tests.faults.upstream import ECHO

_Act = Callable[[Site, RigGateway], Awaitable[None]]
_Provocation = Callable[[Site, RigGateway], AbstractAsyncContextManager[None]]
_EVERY_S = 0.1
_SINKS = 3
_SEALERS_LOCK = 0x5C09E5EA1
# The sealer holds a lock in its own session. Without it, another gateway seals.
_SEALER = """
SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND (classid::bigint << 32) + objid::bigint = $1
"""
_END = "SELECT pg_terminate_backend(pid) FROM unnest($1::int[]) AS pid"


@dataclass(frozen=True, slots=True)
class _Point:
    latest: int
    """At which arrival a gateway dies there at the latest."""
    provocation: _Provocation


def _again_and_again(act: _Act) -> _Provocation:
    @asynccontextmanager
    async def provocation(here: Site, gateway: RigGateway) -> AsyncIterator[None]:
        over = False

        async def go_on() -> None:
            while not over:
                await act(here, gateway)
                await asyncio.sleep(_EVERY_S)

        provoking = asyncio.create_task(go_on())
        try:
            yield
        finally:
            # Not cancelled: a call that was begun is written down when it is over.
            over = True
            await provoking

    return provocation


async def _call(here: Site, gateway: RigGateway) -> None:
    """A call of anybody."""
    token = here.random.choice(here.random.choice(here.fleet.cells).live)
    await here.callers.call(gateway.port, token, ECHO)


async def _call_that_counts(here: Site, gateway: RigGateway) -> None:
    """A call that a quota counts, in a transaction of its own."""
    cell = here.random.choice([cell for cell in here.fleet.cells if cell.counted])
    await here.callers.call(gateway.port, here.random.choice(cell.live), ECHO)


async def _write(here: Site, gateway: RigGateway) -> None:
    """A change by this very gateway."""
    await here.office.once(gateway, "POST", "/api/v1/groups", json={"name": f"written-{uuid4().hex}"})


async def _pass_on_sealing(here: Site, gateway: RigGateway) -> None:
    """Keep other gateways from sealing."""
    sealing = {row["pid"] for row in await fetch(here.cluster.url, _SEALER, _SEALERS_LOCK)}
    others = sealing - here.ways[gateway.port].backends
    if others:
        await fetch(here.cluster.url, _END, list(others))


@asynccontextmanager
async def _sealing(here: Site, gateway: RigGateway) -> AsyncIterator[None]:
    # There is one sealer: two that are armed would take it from each other.
    async with here.sealing, _again_and_again(_pass_on_sealing)(here, gateway):
        yield


@asynccontextmanager
async def _sinks(here: Site, gateway: RigGateway) -> AsyncIterator[None]:
    """The trail goes to new endpoints. Each second another gateway may be the one that gives them what there is."""
    url = f"http://127.0.0.1:{here.upstream.port}{SINK}"
    sinks = [await here.office.made("audit-sinks", name=uuid4().hex, url=url) for _ in range(_SINKS)]
    yield
    for sink in sinks:
        headers = {"If-Match": "*"}
        await here.office.insist(
            "DELETE", f"/api/v1/audit-sinks/{sink['id']}", headers=headers, also=DONE_BEFORE
        )


@asynccontextmanager
async def _messages(here: Site, gateway: RigGateway) -> AsyncIterator[None]:
    """Messages to a new endpoint. Any gateway may be the one that sends each."""
    url = f"http://127.0.0.1:{here.upstream.port}{HOOK}"
    made = await here.office.made("webhooks", name=uuid4().hex, url=url, events=["approval.requested"])
    if made["secret"] is not None:
        here.fleet.secrets.add(made["secret"])
    place = f"/api/v1/webhooks/{made['webhook']['id']}"

    async def tell(here: Site, _gateway: RigGateway) -> None:
        await here.office.insist("POST", f"{place}/test", headers={"Idempotency-Key": uuid4().hex})

    async with _again_and_again(tell)(here, gateway):
        yield
    await here.office.insist("DELETE", place, headers={"If-Match": "*"}, also=DONE_BEFORE)


_BY_CALLS = _Point(30, _again_and_again(_call))
POINTS = {
    "before_settlement": _Point(10, _again_and_again(_call_that_counts)),
    "after_settlement": _Point(10, _again_and_again(_call_that_counts)),
    "before_commit": _Point(5, _again_and_again(_write)),
    "after_commit": _Point(5, _again_and_again(_write)),
    # A token is read once, until something of it moves.
    "between_reads": _Point(3, _again_and_again(_call)),
    "before_checkpoint": _Point(1, _sealing),
    "after_checkpoint": _Point(1, _sealing),
    "before_sink_batch": _Point(2, _sinks),
    "after_sink_batch": _Point(2, _sinks),
    "before_noting": _Point(3, _messages),
}
"""Failpoints that plain calls rarely reach."""


def latest_of(failpoint: str) -> int:
    """At which arrival a gateway may be asked to die there at the latest."""
    return POINTS.get(failpoint, _BY_CALLS).latest


def provoked(here: Site, gateway: RigGateway, failpoint: str) -> AbstractAsyncContextManager[None]:
    """While this gateway, armed there, is brought to a failpoint as often as it takes."""
    return POINTS.get(failpoint, _BY_CALLS).provocation(here, gateway)
