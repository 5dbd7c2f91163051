"""Event tokens that were not taken, on record: the first of a kind at once, the others of its minute as one event."""

import time
from collections import Counter
from collections.abc import Callable
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.db.engine import commit
from app.features.identity_providers.signals.errors import ErrorCode
from app.features.identity_providers.signals.receive import refuse
from app.http.authorization import Caller

WINDOW_S = 60.0
_Kind = tuple[Caller, UUID | None, ErrorCode]


class RefusedEvents:
    """Counts for one worker. Whoever sends has signed in, so kinds are few."""

    def __init__(
        self, sessions: async_sessionmaker[AsyncSession], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._sessions = sessions
        self._clock = clock
        self._ends: dict[_Kind, float] = {}
        self._counts: Counter[_Kind] = Counter()

    async def note(
        self, caller: Caller, provider_id: UUID | None, code: ErrorCode, request_id: str | None
    ) -> None:
        """One was refused. Raises ``Unavailable`` when that cannot be written down."""
        kind = (caller, provider_id, code)
        if self._ends.get(kind, 0.0) > self._clock():
            self._counts[kind] += 1
            return
        await self._write(kind, 1, request_id)
        self._ends[kind] = self._clock() + WINDOW_S

    async def flush(self, *, all: bool = False) -> None:
        """Write down what was counted in minutes that are over; of those that are not, if it is the last chance."""
        now = self._clock()
        for kind in [kind for kind, end in self._ends.items() if all or end <= now]:
            end, count = self._ends[kind], self._counts[kind]
            if count:
                await self._write(kind, count, None)
            # Not before it is written: a database that is away must not lose them. More may have come meanwhile.
            self._counts[kind] -= count
            if self._ends[kind] == end and not self._counts[kind]:
                del self._ends[kind], self._counts[kind]

    async def _write(self, kind: _Kind, count: int, request_id: str | None) -> None:
        caller, provider_id, code = kind
        async with self._sessions() as session:
            await refuse(session, caller, provider_id, code, count=count, request_id=request_id)
            await commit(session)
