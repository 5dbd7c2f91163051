"""Work on large JSON, in a thread, so that the calls that a worker carries go on meanwhile.

Reading and writing hundreds of thousands of values takes tenths of a second, for which the event loop would stand
still. In a thread the interpreter changes between the two every few milliseconds, as long as no single step of the
work is long. There is one thread, so that the event loop has half of the processor at least.

Calculations that take long, in slices, so that the calls that a worker carries go on in between.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from time import monotonic
from typing import ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from app.lib.strict_json import count_values

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


LARGE_BYTES = 256 * 1024
LARGE_VALUES = 4_000
"""They take the event loop a few milliseconds."""
SOON_BYTES = 16 * 1024
"""Of which nobody knows how many values they hold: no more than take that long."""


_WORKER = ThreadPoolExecutor(1, "large-json")

# Of the context of the thread, which is its own.
_is_beside: ContextVar[bool] = ContextVar("is_beside", default=False)
Arguments = ParamSpec("Arguments")
Done = TypeVar("Done")


def is_large(raw: bytes) -> bool:
    """Whether the work on this JSON should not hold the event loop."""
    # A value takes two bytes at least.
    if len(raw) <= 2 * LARGE_VALUES:
        return False
    return len(raw) > LARGE_BYTES or count_values(raw) > LARGE_VALUES


def is_on_loop() -> bool:
    """Whether whoever asks holds the event loop, and does not work beside it."""
    return not _is_beside.get()


async def off_loop(
    work: Callable[Arguments, Done], *arguments: Arguments.args, **options: Arguments.kwargs
) -> Done:
    """What ``work`` returns or raises, after work that came before. It must touch nothing that the loop changes."""
    loop = asyncio.get_running_loop()

    def beside() -> Done:
        _is_beside.set(True)
        return work(*arguments, **options)

    return await loop.run_in_executor(_WORKER, beside)
