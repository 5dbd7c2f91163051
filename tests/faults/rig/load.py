"""All callers of a run."""

import asyncio
from dataclasses import dataclass, field
from typing import Self

from tests.faults.rig.approvals import ApprovalAttempts
from tests.faults.rig.pickups import PickupAttempts
from tests.faults.rig.site import Site
from tests.faults.rig.witness import Witness

_STREAMS = 2


@dataclass(slots=True)
class Load:
    """Callers at work in the block; stopped and waited for at its end, or before by ``stop``."""

    here: Site
    approvals: ApprovalAttempts = field(init=False)
    pickups: PickupAttempts = field(init=False)
    _witness: Witness = field(init=False)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        callers = self.here.callers
        [cell] = [cell for cell in self.here.fleet.cells if cell.asking]
        self.approvals = ApprovalAttempts(self.here, cell)
        self.pickups = await PickupAttempts.make(self.here)
        self._witness = Witness(self.here)
        work = [self.approvals.work(), self.pickups.work(), self._witness.work(), callers.watch_the_clock()]
        for port in self.here.ports:
            work += [callers.work(port) for _ in range(self.here.plan.callers)]
            work += [callers.linger(port) for _ in range(_STREAMS)]
        self._tasks = [asyncio.create_task(one) for one in work]
        return self

    async def stop(self) -> None:
        """No call is under way afterwards. Raises what a caller did not expect."""
        self.here.callers.stopping = self.approvals.stopping = True
        self.pickups.stopping = self._witness.stopping = True
        await asyncio.gather(*self._tasks)

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
