"""Large bodies are read in a thread beside the event loop: twenty thousand members take a second to be checked, and the
calls that a worker carries go on meanwhile. One thread, so that several such bodies wait for one another and not the
calls for all of them."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

from app.domain.errors import Unavailable

LARGE = 1 << 15
"""Octets of a body that takes longer to be read than a thread costs."""

Result = TypeVar("Result")
MOST_AT_ONCE = 4
"""Read or waiting. Each holds a connection of those that all requests share."""
_reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="scim-bodies")
_places = MOST_AT_ONCE


async def read_apart(body: bytes, read: Callable[[], Result]) -> Result:
    """What ``read``, which is pure, makes of a body. Raises what it raises, and ``Unavailable`` where too many wait."""
    global _places  # noqa: PLW0603
    if len(body) <= LARGE:
        return read()
    if _places == 0:
        raise Unavailable("Other large bodies are being read; repeat the request shortly.")
    _places -= 1
    try:
        return await asyncio.get_running_loop().run_in_executor(_reader, copy_context().run, read)
    finally:
        _places += 1
