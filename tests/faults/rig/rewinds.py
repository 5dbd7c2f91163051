"""An older state of the database under gateways that knew a newer one, and the newer one again.

In between no call may be served, because the older state contains revoked access.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager

from tests.faults.rig.paths import PATHS
from tests.faults.rig.probes import scopegate
from tests.faults.rig.site import Site
from tests.faults.rig.withdrawals import revoke

_OLDER_S = 6.0
_OLDER, _NEWER = "older", "newer"


async def database_rewinds(here: Site, times: int) -> None:
    """The data directory of before some revocations is put in place of the newest for a while."""
    for _ in range(times):
        with here.disturbance("database-restart", calls="mixed", blind=True):
            await asyncio.to_thread(_copy, here)
        await here.resumed()
        await revoke(here, next(path for path in PATHS if path.for_good))
        async with _pause_office(here):
            with here.disturbance("database-rewind", calls="mixed", blind=True):
                await asyncio.to_thread(_swap, here)
            with here.disturbance("database-rewind", calls="refused", blind=True):
                await asyncio.sleep(_OLDER_S)
            with here.disturbance("database-rewind", calls="mixed", blind=True):
                await asyncio.to_thread(_swap_back, here)
        await here.resumed()


@asynccontextmanager
async def _pause_office(here: Site) -> AsyncIterator[None]:
    """Pause changes, because those in the older state would be lost, which looks like a fault."""
    with ExitStack() as stack:
        for gateway in here.office.serving():
            stack.enter_context(gateway.away())
        yield


def _copy(here: Site) -> None:
    here.cluster.stop()
    here.cluster.save(_OLDER)
    here.cluster.bring_up()


def _swap(here: Site) -> None:
    here.cluster.kill()
    here.cluster.save(_NEWER)
    here.cluster.put_back(_OLDER)
    here.cluster.bring_up()


def _swap_back(here: Site) -> None:
    here.cluster.stop()
    here.cluster.put_back(_NEWER)
    here.cluster.bring_up()
    done = scopegate("audit", "accept-restore", DATABASE_URL=here.cluster.url)
    assert done.returncode == 0, done.stderr
