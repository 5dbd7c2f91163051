"""Timeouts that do not wait for the cancelled work to end."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")
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
