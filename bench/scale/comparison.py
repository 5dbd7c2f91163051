"""Comparison of operations in a large and in a small organization."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median
from time import perf_counter

from bench.scale.worlds import World
from bench.targets import Figure, at_most

UNTIMED = 3
_TARGET = at_most(2)
Step = Callable[[int], object]
"""One repetition of an operation, with its number."""


@dataclass(frozen=True, slots=True)
class Operation:
    """A repeatable operation. ``begin`` prepares it in a world.

    ``exempt_reason`` says why the large organization may take longer.
    """

    name: str
    begin: Callable[[World], Step]
    exempt_reason: str | None = None


def compare_operations(
    operations: Iterable[Operation], small: World, large: World, times: int
) -> list[Figure]:
    """Return the ratio of the median times in the large and in the small organization, for each operation."""
    figures = []
    for operation in operations:
        steps = operation.begin(large), operation.begin(small)
        slow, fast = alternate(steps, times)
        figures.append(
            Figure(
                operation.name,
                slow / fast,
                "x",
                _TARGET,
                f"{slow:,.1f} ms, {fast:,.1f} ms",
                operation.exempt_reason,
            )
        )
    return figures


def alternate(steps: tuple[Step, Step], times: int) -> tuple[float, float]:
    """Return the median milliseconds of both steps, run alternately."""
    taken: tuple[list[float], list[float]] = ([], [])
    for number in range(UNTIMED + times):
        for step, mine in zip(steps, taken, strict=True):
            began = perf_counter()
            step(number)
            if number >= UNTIMED:
                mine.append((perf_counter() - began) * 1000)
    return median(taken[0]), median(taken[1])
