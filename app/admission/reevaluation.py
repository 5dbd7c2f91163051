"""Calls whose grounds have moved, decided again: many at once, the most urgent first, none later than it is due.

One change of a policy set or a group may be what thousands of calls rest on.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from uuid import UUID

from app.domain.access import Decision
from app.domain.objects import Version
from app.lib.clock import boot_time

_log = logging.getLogger(__name__)

AT_ONCE = 256
"""Those of one token, and of tokens that are read at once, share their reads."""
_FEW = AT_ONCE // 2
"""More are begun when no more than these are left, many at a time: one after the other they would share little."""
_AGAIN_AFTER_S = 0.1
_CUTS_AT_ONCE = 50


@dataclass(slots=True, eq=False)
class Watched:
    """A call in flight. Times are of ``boot_time``, spans in Unix seconds."""

    id: UUID
    rests_on: Sequence[Version]
    valid_until: float
    redecide: Callable[[], Awaitable[Decision | None]]
    cut: Callable[[], None]
    since: int
    """How many looks had begun when this became what it rests on."""
    good_at: float = field(default_factory=boot_time)
    """When it was last known to be allowed, looks apart that found nothing moved."""
    is_deciding: bool = False
    """Whether it waits to be decided again, or is being so."""
    deciding: "asyncio.Task[None] | None" = None
    has_left: bool = False


class DecidingAgain:
    """Decides again what is added, and tells: ``decided`` what came out and since when that is known to hold, ``late``
    what could not be decided by the time at which it was due."""

    def __init__(
        self,
        decided: Callable[[Watched, float, Decision | None], None],
        late: Callable[[Sequence[Watched]], None],
    ) -> None:
        self._decided = decided
        self._late = late
        self._waiting: list[tuple[float, int, Watched]] = []
        self._added = self._running = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    def add(self, watched: Watched, due: float) -> None:
        """Have a call decided again that is not waiting for it already; ``due`` is of ``boot_time``."""
        watched.is_deciding = True
        self._added += 1
        heappush(self._waiting, (due, self._added, watched))
        self._begin()
        self._watch()

    def drop(self, watched: Watched) -> None:
        """It has left: nothing more is told of it."""
        watched.has_left = True
        if watched.deciding is not None:
            watched.deciding.cancel()

    def _begin(self) -> None:
        if self._running > _FEW:
            return
        while self._waiting and self._running < AT_ONCE:
            due, _, watched = heappop(self._waiting)
            if watched.has_left:
                continue
            self._running += 1
            watched.deciding = asyncio.create_task(self._decide(watched, due))
            watched.deciding.add_done_callback(self._has_ended)

    def _has_ended(self, task: "asyncio.Task[None]") -> None:
        self._running -= 1
        self._begin()
        if not task.cancelled():
            # Whatever the listeners raised.
            task.result()

    async def _decide(self, watched: Watched, due: float) -> None:
        begun, decision = boot_time(), None
        try:
            async with asyncio.timeout(due - begun):
                begun, decision = await _decision(watched)
        except TimeoutError:
            self._is_late([watched])
            return
        watched.deciding, watched.is_deciding = None, False
        self._decided(watched, begun, decision)

    def _watch(self) -> None:
        """Be called when the first of those that wait is due."""
        if not self._waiting:
            return
        due = self._waiting[0][0]
        if self._timer is not None:
            if self._timer_at <= due:
                return
            self._timer.cancel()
        self._timer_at = due
        self._timer = asyncio.get_running_loop().call_later(due - boot_time(), self._give_up)

    def _give_up(self) -> None:
        """Of those that wait, what is due has had its time. A few at once: each of them has an end to come to."""
        self._timer, late = None, list[Watched]()
        while self._waiting and self._waiting[0][0] <= boot_time() and len(late) < _CUTS_AT_ONCE:
            _, _, watched = heappop(self._waiting)
            if not watched.has_left:
                late.append(watched)
        if late:
            self._is_late(late)
        self._watch()

    def _is_late(self, late: list[Watched]) -> None:
        _log.warning(
            "Calls are cut (%d): what they rest on has moved, and they could not be decided again in time.",
            len(late),
        )
        for watched in late:
            watched.deciding, watched.is_deciding = None, False
        self._late(late)


async def _decision(watched: Watched) -> tuple[float, Decision | None]:
    """The decision, and since when it is known to hold."""
    while True:
        try:
            return boot_time(), await watched.redecide()
        except Exception:  # noqa: BLE001
            # Whatever it is: it is tried again until the call is cut.
            await asyncio.sleep(_AGAIN_AFTER_S)
