"""Approvals: calls that need one, decisions, and concurrent attempts to use each once."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import uuid4

from tests.faults.rig.fleet import Cell
from tests.faults.rig.history import Call
from tests.faults.rig.office import Stuck
from tests.faults.rig.recorder import ASKS
from tests.faults.rig.site import Site

_EVERY_S = 0.5
_AT_ONCE = 3


@dataclass(slots=True)
class ApprovalAttempts:
    """Call, approve, and call again from everywhere, again and again."""

    here: Site
    cell: Cell
    used: list[str] = field(default_factory=list)
    """Ids of the calls that ran."""
    stopping: bool = False

    async def work(self) -> None:
        """Until ``stopping``."""
        while not self.stopping:
            # In the midst of a fault: the next one will do.
            with suppress(Stuck):
                await self._round()
            await asyncio.sleep(_EVERY_S)

    async def attempt(self, id: str) -> list[Call]:
        """The same call, at every gateway at once."""
        token = self.cell.full
        assert token is not None
        gateways = self.here.office.serving() * _AT_ONCE
        return await asyncio.gather(
            *(self.here.callers.call(gateway.port, token, ASKS, id=id) for gateway in gateways)
        )

    async def _round(self) -> None:
        # Those who came too late last time have asked again.
        await self._decide("deny")
        id = uuid4().hex
        await self.attempt(id)
        await self._decide("approve")
        if any(call.ran for call in await self.attempt(id)):
            self.used.append(id)

    async def _decide(self, how: str) -> None:
        """Approve or deny all pending approvals."""
        office = self.here.office
        query = {"state": "pending", "identity_id": self.cell.person}
        waiting = (await office.insist("GET", "/api/v1/approvals", params=query)).body["items"]
        for approval in waiting:
            await office.insist("POST", f"/api/v1/approvals/{approval['id']}/{how}", json={}, also=(409,))
