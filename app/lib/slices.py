"""Calculations that take long, in slices, so that the calls that a worker carries go on in between."""

import asyncio
from collections import deque
from collections.abc import Generator
from time import monotonic
from typing import TypeVar
from weakref import WeakKeyDictionary

Result = TypeVar("Result")
SLICE_S = 0.002


async def in_slices(steps: Generator[None, None, Result]) -> Result:
    """Run to the end, and let others go on whenever the event loop was held for a slice of time."""
    since = monotonic()
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: Result = end.value
            return result
        if monotonic() - since > SLICE_S:
            await asyncio.sleep(0)
            since = monotonic()


class Turns:
    """Many short calculations that want to be made at the same moment, made a few at a time, with others in between."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._left = at_once
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_next_due = False

    async def take(self) -> None:
        """Return when it is one's turn, in the order of asking."""
        if self._left > 0 and not self._waiting:
            self._left -= 1
            self._let_next_be_due()
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._let_next_be_due()
        await turn

    def _let_next_be_due(self) -> None:
        if not self._is_next_due:
            self._is_next_due = True
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        self._is_next_due, self._left = False, self._at_once
        while self._waiting and self._left > 0:
            turn = self._waiting.popleft()
            # One that has given up takes no place.
            if not turn.done():
                turn.set_result(None)
                self._left -= 1
        if self._waiting:
            self._let_next_be_due()


_AT_ONCE = 4
_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, Turns] = WeakKeyDictionary()


async def let_others_go_on() -> None:
    """Wait one's turn among all that call this: a few of them go on in each turn of the event loop.

    For what reads streams without end. Each that only lets the loop turn would hold it once in every turn, and many
    of them together for long.
    """
    loop = asyncio.get_running_loop()
    turns = _turns.get(loop)
    if turns is None:
        turns = _turns[loop] = Turns(_AT_ONCE)
    await turns.take()
