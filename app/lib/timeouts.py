"""Work that is given up in time, however long it takes to end."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")
# Nobody else holds what is given up, and it must come to its end.
_abandoned: set["asyncio.Task[Any]"] = set()


async def with_timeout(within_s: float, work: Coroutine[Any, Any, Result]) -> Result:
    """What the work gives. Raises ``TimeoutError`` when that takes longer.

    It is cancelled then, and not waited for: a connection to a database that keeps silent takes two more seconds to be
    let go.
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
        # Whoever wanted to know is gone.
        task.exception()
