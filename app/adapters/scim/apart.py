"""Large bodies are read in a thread beside the event loop: twenty thousand members take a second to be checked, and the
calls that a worker carries go on meanwhile. One thread, so that several such bodies wait for one another and not the
calls for all of them."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

LARGE = 1 << 15
"""Octets of a body that takes longer to be read than a thread costs."""

Result = TypeVar("Result")
_reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="scim-bodies")


async def read_apart(body: bytes, read: Callable[[], Result]) -> Result:
    """What ``read``, which is pure, makes of a body. Raises what it raises."""
    if len(body) <= LARGE:
        return read()
    return await asyncio.get_running_loop().run_in_executor(_reader, copy_context().run, read)
