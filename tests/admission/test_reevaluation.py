"""Calls are reevaluated concurrently, and each is reported by its due time."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

import pytest

from app.admission import in_flight as reevaluation
from app.admission.in_flight import MAX_CONCURRENT, Reevaluator, WatchedCall
from app.domain.access import Decision
from app.domain.policy import Effect
from app.lib.ids import new_id

TIMEOUT_S = 50.0
ALLOWED = Decision(Effect.ALLOW, "granted", (), 0.0, 1e12)
Asked = Callable[[], Awaitable[Decision | None]]


class Telling:
    """Records the reported calls."""

    def __init__(self) -> None:
        self.decided: list[WatchedCall] = []
        self.late: list[WatchedCall] = []
        self.again = Reevaluator(self._decided, self._is_late)
        self._news = asyncio.Condition()
        self._notes: set[asyncio.Task[None]] = set()

    def add(self, reevaluate: Asked, due_in_s: float = TIMEOUT_S) -> WatchedCall:
        watched = WatchedCall(new_id(), (), 0.0, reevaluate, lambda: None, 0)
        self.again.add(watched, time.monotonic() + due_in_s)
        return watched

    async def told(self, how_many: int) -> None:
        async with asyncio.timeout(TIMEOUT_S), self._news:
            await self._news.wait_for(lambda: len(self.decided) + len(self.late) >= how_many)

    def _decided(self, watched: WatchedCall, begun: float, decision: Decision | None) -> None:
        assert begun <= time.monotonic()
        assert decision is ALLOWED
        self.decided.append(watched)
        self._note()

    def _is_late(self, late: Sequence[WatchedCall]) -> None:
        self.late += late
        self._note()

    def _note(self) -> None:
        async def note() -> None:
            async with self._news:
                self._news.notify_all()

        task = asyncio.create_task(note())
        self._notes.add(task)
        task.add_done_callback(self._notes.discard)


async def never() -> Decision:
    await asyncio.Event().wait()
    raise AssertionError


async def at_once() -> Decision:
    return ALLOWED


async def test_thousands_are_decided_and_never_more_at_once_than_may_be() -> None:
    telling, running, most = Telling(), 0, 0

    async def asked() -> Decision:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return ALLOWED

    added = [telling.add(asked) for _ in range(10 * MAX_CONCURRENT + 1)]
    await telling.told(len(added))
    assert set(telling.decided) == set(added)
    assert (len(telling.decided), telling.late) == (len(added), [])
    assert most == MAX_CONCURRENT


async def test_what_waits_behind_others_is_late_when_it_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reevaluation, "MAX_CONCURRENT", 1)
    monkeypatch.setattr(reevaluation, "_LOW_WATER", 0)
    telling = Telling()
    running = telling.add(never, TIMEOUT_S)
    waiting = [telling.add(at_once, due) for due in (0.2, 0.1, 0.1)]
    await telling.told(len(waiting))
    assert telling.late == [*waiting[1:], waiting[0]]
    telling.again.drop(running)


async def test_the_most_urgent_is_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reevaluation, "MAX_CONCURRENT", 1)
    monkeypatch.setattr(reevaluation, "_LOW_WATER", 0)
    telling, ends = Telling(), asyncio.Event()

    async def asked() -> Decision:
        await ends.wait()
        return ALLOWED

    first = telling.add(asked)
    later, sooner = telling.add(at_once, TIMEOUT_S), telling.add(at_once, TIMEOUT_S / 2)
    ends.set()
    await telling.told(3)
    assert telling.decided == [first, sooner, later]


async def test_what_hangs_is_late_when_it_is_due_and_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reevaluation, "MAX_CONCURRENT", 1)
    monkeypatch.setattr(reevaluation, "_LOW_WATER", 0)
    telling = Telling()
    hangs, waits = telling.add(never, 0.05), telling.add(at_once)
    await telling.told(2)
    assert (telling.late, telling.decided) == ([hangs], [waits])


async def test_nothing_is_told_of_what_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reevaluation, "MAX_CONCURRENT", 1)
    monkeypatch.setattr(reevaluation, "_LOW_WATER", 0)
    telling = Telling()
    running, waiting, soon_due = telling.add(never), telling.add(at_once), telling.add(at_once, 0.02)
    stays = telling.add(at_once)
    # It has begun.
    await asyncio.sleep(0)
    for left in (waiting, soon_due, running):
        telling.again.drop(left)
    await telling.told(1)
    assert (telling.decided, telling.late) == ([stays], [])


async def test_one_that_fails_is_tried_again() -> None:
    telling, tries = Telling(), 0

    async def fails_once() -> Decision:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise OSError
        return ALLOWED

    watched = telling.add(fails_once)
    await telling.told(1)
    assert (telling.decided, tries) == ([watched], 2)
