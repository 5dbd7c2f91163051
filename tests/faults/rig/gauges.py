"""Resources of gateways: memory and open files from the kernel, and the number of tasks from the process."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from tests.faults.rig.history import Sample
from tests.faults.rig.processes import RigGateway
from tests.faults.rig.site import Site

_ASKED_EVERY_S = 0.02
_ANSWER_S = 1.0
_PAGE_MB = os.sysconf("SC_PAGE_SIZE") / (1 << 20)


@asynccontextmanager
async def sampled(here: Site, every_s: float) -> AsyncIterator[None]:
    """Samples of every gateway that serves are written down while the block lasts."""
    over = False

    async def go_on() -> None:
        while not over:
            for gateway in here.office.serving():
                # One that dies in between has nothing to say.
                with suppress(OSError):
                    here.writer.write(await _sample(gateway))
            await asyncio.sleep(every_s)

    sampling = asyncio.create_task(go_on())
    try:
        yield
    finally:
        over = True
        await sampling


async def _sample(gateway: RigGateway) -> Sample:
    process = Path(f"/proc/{gateway.pid}")
    pages = int((process / "statm").read_text(encoding="ascii").split()[1])
    files = len(list((process / "fd").iterdir()))
    return Sample(gateway.port, time.monotonic(), round(pages * _PAGE_MB, 1), files, await _tasks(gateway))


async def _tasks(gateway: RigGateway) -> int | None:
    """How many tasks its event loop has; ``None`` when it does not say in time."""
    gateway.gauge.unlink(missing_ok=True)
    os.kill(gateway.pid, signal.SIGUSR2)
    until = time.monotonic() + _ANSWER_S
    while time.monotonic() < until:
        if gateway.gauge.exists():
            return int(gateway.gauge.read_text(encoding="ascii"))
        await asyncio.sleep(_ASKED_EVERY_S)
    return None
