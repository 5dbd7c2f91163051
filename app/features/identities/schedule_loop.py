"""Carrying out offboardings when their time has come: every worker looks, each is done once.

Whoever takes one holds its row until the transaction that offboards ends, so a worker that is lost leaves it to the
next, and what came due while nobody ran is done at once by whoever starts.
"""

import asyncio
import logging
from random import SystemRandom
from uuid import UUID

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.crypto.signing import Signer
from app.db.engine import OUT_OF_REACH, commit, sqlstate
from app.domain.errors import Conflict, Forbidden, Unavailable
from app.features.identities.offboard import offboard_identity
from app.features.identities.offboard_schemas import Offboard
from app.features.identities.schedule import end_schedule
from app.features.identities.schedule_queries import claim_due, roles_of_requester
from app.http.authorization import Caller, Role
from app.http.etags import Precondition
from app.lib.ids import SCHEDULED_OFFBOARDING, format_id
from app.lib.logs import log_fault
from app.models.tokens import ScheduledOffboarding

_log = logging.getLogger(__name__)
_LOOK_EVERY_S = 0.6
_REST_S = 5.0
"""How long one that could not be carried out is left alone, so that others come in between."""
_COLLISIONS = {"40001", "40P01"}
_AWAY = (Unavailable, *OUT_OF_REACH)
_spread = SystemRandom()


class ScheduledOffboardings:
    """One worker's share of what is due."""

    def __init__(self, sessions: async_sessionmaker[AsyncSession], signer: Signer) -> None:
        self._sessions = sessions
        self._signer = signer
        self._resting: dict[UUID, float] = {}

    async def run(self) -> None:
        """Carry out what is due until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S * _spread.uniform(0.5, 1.0))
            try:
                while await self.next():
                    pass
            except _AWAY:
                # Others say that the database is away; what is due stays due.
                continue
            except Exception as error:  # noqa: BLE001
                # Whatever it is, it must not end the loop.
                log_fault(_log, "looking for scheduled offboardings", error)

    async def next(self) -> bool:
        """Carry out one that is due; whether there was one."""
        now = asyncio.get_running_loop().time()
        self._resting = {id: until for id, until in self._resting.items() if until > now}
        async with self._sessions() as session:
            row = await claim_due(session, self._resting.keys())
            if row is None:
                return False
            # Read now: of a row whose transaction failed nothing can be read.
            id = row.id
            try:
                await carry_out(session, self._signer, row)
                await commit(session)
            except Exception as error:
                if not (isinstance(error, DBAPIError) and sqlstate(error) in _COLLISIONS):
                    # A collision is repeated at once; whatever else it was, later.
                    self._resting[id] = now + _REST_S
                if isinstance(error, _AWAY):
                    raise
                if id in self._resting:
                    log_fault(
                        _log, f"the scheduled offboarding {format_id(SCHEDULED_OFFBOARDING, id)}", error
                    )
            return True


async def carry_out(session: AsyncSession, signer: Signer, row: ScheduledOffboarding) -> None:
    """Offboard the identity of a locked schedule, as the system, on behalf of the one who asked.

    It is cancelled when the role of the one who asked is not enough by now, or the identity is the last active owner.
    """
    system = Caller("system", UUID(int=0), frozenset({Role.ADMIN}), row.on_behalf_of)
    requester = Caller(row.requested_by_kind, row.requested_by_id, await roles_of_requester(session, row))
    try:
        await offboard_identity(
            session,
            system,
            row.identity_id,
            # None when the identity is erased, and what was set for it is only to be settled.
            Offboard(reason=row.reason or "erased", transfer_agents_to=row.transfer_agents_to),
            Precondition(None),
            signer=signer,
            via="schedule",
            on_word_of=requester,
            dry_run=False,
            request_id=None,
        )
    except (Forbidden, Conflict) as refusal:
        # Both are asked before anything is changed.
        await end_schedule(session, system, row, None, because=refusal.code)
