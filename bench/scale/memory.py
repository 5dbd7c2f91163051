"""The memory of a gateway by the number of tokens in use."""

import asyncio
from collections.abc import Sequence

import uvloop

from bench import load
from bench.processes import CannotMeasure, memory_bytes
from bench.scale.worlds import World
from bench.systems import System, mirror
from bench.targets import Figure, at_most

_CALLERS = 64
_SLICE_S = 2.0
_SETTLE_S = 2.0
"""Time for deferred writes: outcomes and last use of tokens."""


def measure(world: World, steps: Sequence[int]) -> list[Figure]:
    """Use more and more tokens, and return the memory per token."""
    systems = [mirror(world.testbed, world.gateway, tokens=slice(step)) for step in steps]
    read = uvloop.run(_use(world.gateway.pid, systems))
    figures = [
        Figure(f"memory of a gateway with {step:,} tokens in use", taken / 2**20, "MiB")
        for step, taken in zip(steps, read, strict=True)
    ]
    each = (read[-1] - read[0]) / (steps[-1] - steps[0]) / 1024
    return [
        *figures,
        Figure("memory of a token in use", each, "KiB", at_most(2), f"over {steps[-1]:,} tokens"),
    ]


async def _use(pid: int, systems: Sequence[System]) -> list[int]:
    read = []
    for system in systems:
        calls = 0
        while calls < system.warm_calls:
            sample = await load.apply(system.process.port, system.work, _CALLERS, _SLICE_S, 0)
            if sample.errors:
                raise CannotMeasure(f"calls failed: {dict(sample.errors)}")
            calls += sample.all_calls
        await asyncio.sleep(_SETTLE_S)
        read.append(memory_bytes(pid))
    return read
