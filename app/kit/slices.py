"""Calculations that take long, in slices, so that the calls that a worker carries go on in between."""

import asyncio
from collections.abc import Generator
from time import monotonic
from typing import TypeVar

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
