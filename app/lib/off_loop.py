"""Work on large JSON, in a thread, so that the calls that a worker carries go on meanwhile.

Reading and writing hundreds of thousands of values takes tenths of a second, for which the event loop would stand
still. In a thread the interpreter changes between the two every few milliseconds, as long as no single step of the
work is long. There is one thread, so that the event loop has half of the processor at least.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

from app.lib.strict_json import count_values

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
