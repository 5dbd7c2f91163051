"""All callers of a run."""

import asyncio
from dataclasses import dataclass, field
from typing import Self

from tests.faults.rig.asking import Asking
from tests.faults.rig.keeping import Keeping
from tests.faults.rig.picking_up import PickingUp
from tests.faults.rig.site import Site

_STREAMS = 2


@dataclass(slots=True)
class Load:
    """Callers at work in the block; stopped and waited for at its end, or before by ``stop``."""

    here: Site
    asking: Asking = field(init=False)
    picking_up: PickingUp = field(init=False)
    _keeping: Keeping = field(init=False)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        callers = self.here.callers
        [cell] = [cell for cell in self.here.fleet.cells if cell.asking]
        self.asking = Asking(self.here, cell)
        self.picking_up = await PickingUp.make(self.here)
        self._keeping = Keeping(self.here)
        work = [self.asking.work(), self.picking_up.work(), self._keeping.work(), callers.watch_the_clock()]
        for port in self.here.ports:
            work += [callers.work(port) for _ in range(self.here.plan.callers)]
            work += [callers.linger(port) for _ in range(_STREAMS)]
        self._tasks = [asyncio.create_task(one) for one in work]
        return self

    async def stop(self) -> None:
        """No call is under way afterwards. Raises what a caller did not expect."""
        self.here.callers.stopping = self.asking.stopping = True
        self.picking_up.stopping = self._keeping.stopping = True
        await asyncio.gather(*self._tasks)

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
