"""One withdrawal during the load: running streams on every gateway, calls right after the answer, and restoration."""

import asyncio
import time
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from uuid import uuid4

from tests.faults.rig.fleet import Cell, Token
from tests.faults.rig.history import Call, Restored, Withdrawn
from tests.faults.rig.paths import PATHS, Path
from tests.faults.rig.processes import RigGateway
from tests.faults.rig.recorder import SILENT, STREAM
from tests.faults.rig.site import Site
from tests.faults.upstream import ECHO, SLOW

_BEGUN_S = 10.0
_ADMITTED_S = 3.0
# A stream that should have ended is held for so long that a slow machine does not explain it.
_CUT_S = 12.0
_AFTERWARDS_S = 0.1
_CROWD = 40


async def revoke(
    here: Site,
    path: Path | None = None,
    during: AbstractAsyncContextManager[None] | None = None,
    lasting_s: float = 0.0,
    held_s: float = 0.0,
    crowd_at: RigGateway | None = None,
) -> None:
    """Withdraw access by the next path in turn, and restore it.

    ``during`` is a fault that begins once the streams run, and lasts so long after the answer; while a stream goes on
    that should have ended, up to ``held_s`` longer, so that no slow machine explains it. At the gateway ``crowd_at``
    many calls come at once when it begins.
    """
    if path is None:
        path = PATHS[here.turn % len(PATHS)]
        here.turn += 1
    cell = await _free(here, path)
    try:
        await _taken(here, path, cell, during or nullcontext(), lasting_s, held_s, crowd_at)
    finally:
        cell.lock.release()


async def _free(here: Site, path: Path) -> Cell:
    """A cell that suits, locked."""
    suitable = [cell for cell in here.fleet.cells if path.suits(cell)]
    free = [cell for cell in suitable if not cell.lock.locked()]
    cell = here.random.choice(free or suitable)
    await cell.lock.acquire()
    return cell


async def _taken(
    here: Site,
    path: Path,
    cell: Cell,
    during: AbstractAsyncContextManager[None],
    lasting_s: float,
    held_s: float,
    crowd_at: RigGateway | None,
) -> None:
    assert cell.full is not None
    token, tokens, slug = cell.full, path.tokens(cell), cell.slug
    until, gateways = asyncio.Event(), here.office.serving()
    tool = STREAM if path.tools else here.random.choice([STREAM, SLOW, SILENT])
    begun = await asyncio.gather(*(_stream(here, gateway, token, tool, until) for gateway in gateways))
    if held_s:
        # A call to SILENT counts as begun once it is sent. Refused by a fault right after that, it holds nothing.
        await asyncio.sleep(_ADMITTED_S)
    probe = ECHO if path.tools is None or ECHO in path.tools else STREAM
    crowd = [
        asyncio.create_task(here.callers.call(crowd_at.port, token, probe))
        for _ in range(_CROWD)
        if crowd_at is not None
    ]
    async with during:
        heard = await path.take(here.world, cell)
        taken = Withdrawn(
            uuid4().hex, path.name, heard.port, heard.first, heard.answered, tokens, slug, path.tools, heard.repeats
        )  # fmt: skip
        here.writer.write(taken)
        probing = asyncio.gather(
            *(here.callers.call(gateway.port, token, probe, after=taken.id) for gateway in gateways)
        )
        await asyncio.sleep(lasting_s)
        if begun and held_s:
            await asyncio.wait(begun, timeout=held_s)
    await probing
    await asyncio.gather(*crowd)
    if begun:
        await asyncio.wait(begun, timeout=_CUT_S)
    await asyncio.sleep(_AFTERWARDS_S)
    until.set()
    await asyncio.gather(*begun)
    at = time.monotonic()
    await path.back(here.world, cell)
    if not path.for_good:
        here.writer.write(Restored(taken.id, at, time.monotonic()))


async def _stream(
    here: Site, gateway: RigGateway, token: Token, tool: str, until: asyncio.Event
) -> asyncio.Task[Call]:
    """The task of a stream, once it has begun or is known not to."""
    begun = asyncio.Event()
    task = asyncio.create_task(here.callers.stream(gateway.port, token, tool, until, begun.set))
    with suppress(TimeoutError):
        async with asyncio.timeout(_BEGUN_S):
            await begun.wait()
    return task
