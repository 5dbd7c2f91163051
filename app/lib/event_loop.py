"""Long work that does not block the event loop: in slices, in turns, in a thread, or with a time limit.

Parsing or writing hundreds of thousands of JSON values takes tenths of a second. In a thread, the interpreter switches
every few milliseconds, as long as no single step is long. There is only one thread, so that the event loop gets at
least half of the processor.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from time import monotonic
from typing import Any, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from app.lib.strict_json import count_values

Item = TypeVar("Item")
Result = TypeVar("Result")
SLICE_S = 0.002


async def in_slices(steps: Generator[None, None, Result]) -> Result:
    """Run a generator to its end, yielding to the event loop after each slice of time."""
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


async def map_in_slices(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Call a function for each item, yielding to the event loop after each slice of time."""

    def steps() -> Generator[None, None, list[Result]]:
        results = []
        for item in items:
            results.append(function(item))
            yield
        return results

    return await in_slices(steps())


class Turns:
    """Admits a few waiting tasks per iteration of the event loop, in order."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._left = at_once
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_next_scheduled = False

    async def take(self) -> None:
        """Wait for a turn."""
        if self._left > 0 and not self._waiting:
            self._left -= 1
            self._schedule_next()
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._schedule_next()
        await turn

    def _schedule_next(self) -> None:
        if not self._is_next_scheduled:
            self._is_next_scheduled = True
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        self._is_next_scheduled, self._left = False, self._at_once
        while self._waiting and self._left > 0:
            turn = self._waiting.popleft()
            # Skip tasks that were cancelled.
            if not turn.done():
                turn.set_result(None)
                self._left -= 1
        if self._waiting:
            self._schedule_next()


_AT_ONCE = 4
_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, Turns] = WeakKeyDictionary()


async def yield_to_others() -> None:
    """Wait for a turn among all callers: a few of them continue in each iteration of the event loop.

    For readers of endless streams. With ``sleep(0)``, all of them would run in every iteration and together block the
    loop for long.
    """
    loop = asyncio.get_running_loop()
    turns = _turns.get(loop)
    if turns is None:
        turns = _turns[loop] = Turns(_AT_ONCE)
    await turns.take()


LARGE_BYTES = 256 * 1024
LARGE_VALUES = 4_000
"""These take the event loop a few milliseconds."""
MIN_LARGE_BYTES = 2 * LARGE_VALUES
"""Smaller JSON is never large, since a value takes at least two bytes."""
MAX_UNCOUNTED_BYTES = 16 * 1024
"""JSON up to this size takes no longer than that, however many values it has."""
_WORKER = ThreadPoolExecutor(1, "large-json")
# Set in the thread, which has its own context.
_is_in_thread: ContextVar[bool] = ContextVar("is_in_thread", default=False)
Arguments = ParamSpec("Arguments")
Done = TypeVar("Done")


def is_large(raw: bytes) -> bool:
    """Whether this JSON should be processed in the thread."""
    if len(raw) <= MIN_LARGE_BYTES:
        return False
    return len(raw) > LARGE_BYTES or count_values(raw) > LARGE_VALUES


def is_on_loop() -> bool:
    """Whether the caller runs on the event loop and not in the thread."""
    return not _is_in_thread.get()


async def off_loop(
    work: Callable[Arguments, Done], *arguments: Arguments.args, **options: Arguments.kwargs
) -> Done:
    """Run ``work`` in the thread, after earlier work. It must not touch anything that the event loop changes."""
    loop = asyncio.get_running_loop()

    def in_thread() -> Done:
        _is_in_thread.set(True)
        return work(*arguments, **options)

    return await loop.run_in_executor(_WORKER, in_thread)


# References to cancelled tasks, which would be garbage-collected before their end otherwise.
_abandoned: set["asyncio.Task[Any]"] = set()


async def with_timeout(within_s: float, work: Coroutine[Any, Any, Result]) -> Result:
    """Run work for at most ``within_s`` seconds. Raises ``TimeoutError``.

    After the timeout, the work is cancelled but not awaited: closing the connection to a silent database takes two more
    seconds.
    """
    task = asyncio.create_task(work)
    try:
        await asyncio.wait([task], timeout=within_s)
        if not task.done():
            raise TimeoutError
        return task.result()
    finally:
        if not task.done():
            _abandoned.add(task)
            task.add_done_callback(_ended)
            task.cancel()


def _ended(task: "asyncio.Task[Any]") -> None:
    _abandoned.discard(task)
    if not task.cancelled():
        task.exception()  # Retrieved, so that asyncio does not log it.
