"""The benchmark of memory: the cost of a token in use, and the growth of memory and open files under load."""

import asyncio
from dataclasses import dataclass
from time import perf_counter

import uvloop

from bench import load
from bench.processes import Running, memory_bytes, open_files
from bench.systems import System, mirror
from bench.targets import Figure, at_most
from bench.testbed import Testbed

_CALLERS = 64
_SLICE = 2.0
_SETTLE = 2.0
"""Time for deferred writes: outcomes and last use of tokens."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The resources of an idle gateway."""

    memory: int
    files: int


@dataclass(frozen=True, slots=True)
class Grown:
    """The readings after each load."""

    base: Reading
    with_tokens: Reading
    after: Reading
    calls: int
    """Between the last two readings."""
    failed: int
    """Failed calls in total."""


def measure(testbed: Testbed, base: int, seconds: float) -> list[Figure]:
    """Use ``base`` tokens, then all tokens, then continue for ``seconds``."""
    with testbed.gateway("memory", {testbed.cores.system}) as gateway:
        first = mirror(testbed, gateway, tokens=slice(base))
        every = mirror(testbed, gateway)
        grown = uvloop.run(_load(gateway, first, every, seconds))
    return figures(grown, len(testbed.seeded.credentials) - base, seconds)


def figures(grown: Grown, tokens: int, seconds: float) -> list[Figure]:
    """Return the figures of the readings."""
    growth = (grown.after.memory - grown.with_tokens.memory) / grown.with_tokens.memory * 100
    within = f"in {seconds:,.0f} s, {grown.calls:,} calls"
    each = (grown.with_tokens.memory - grown.base.memory) / tokens / 1024
    return [
        Figure("memory of a token in use", each, "KiB", at_most(2), f"over {tokens:,} tokens"),
        Figure("memory of a gateway with them", grown.with_tokens.memory / 2**20, "MiB"),
        Figure("memory grown under load", growth, "%", at_most(2), within),
        Figure("calls that failed", grown.failed, "", at_most(0)),
        Figure(
            "open files grown under load",
            grown.after.files - grown.with_tokens.files,
            "",
            # As many as callers: connections to the upstream are kept for a while.
            at_most(_CALLERS),
            within,
        ),
    ]


class _Load:
    """Calls by 64 callers, counted."""

    def __init__(self) -> None:
        self.calls = 0
        self.failed = 0

    async def use(self, system: System, calls: int) -> None:
        """Call until each token was used."""
        until = self.calls + calls
        while self.calls < until:
            await self.go_on(system, min(_SLICE, calls / 1000))

    async def go_on(self, system: System, seconds: float) -> None:
        """Call for this long, on new connections every few seconds."""
        deadline = perf_counter() + seconds
        while perf_counter() < deadline:
            sample = await load.apply(system.process.port, system.work, _CALLERS, min(_SLICE, seconds), 0)
            self.failed += sum(sample.errors.values())
            self.calls += sample.all_calls


async def _load(gateway: Running, first: System, every: System, seconds: float) -> Grown:
    await load.check(gateway.port, first.work, 1)
    done = _Load()
    # Use each token twice, so that one-time allocations, such as connections and buffers, are not counted.
    await done.use(first, 2 * first.warm_calls)
    base = await _read(gateway)
    await done.use(every, every.warm_calls)
    with_tokens = await _read(gateway)
    so_far = done.calls
    await done.go_on(every, seconds)
    return Grown(base, with_tokens, await _read(gateway), done.calls - so_far, done.failed)


async def _read(gateway: Running) -> Reading:
    await asyncio.sleep(_SETTLE)
    return Reading(memory_bytes(gateway.pid), open_files(gateway.pid))
