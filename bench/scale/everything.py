"""All parts of ``python -m bench scale``."""

import os
from collections.abc import Sequence
from dataclasses import asdict

from bench import report
from bench.processes import Cores
from bench.scale import memory
from bench.scale.calls import CALLS
from bench.scale.changes import CHANGES
from bench.scale.comparison import Operation, compare_operations
from bench.scale.lists import LISTS, OBJECTS, late_pages
from bench.scale.searches import AUDIT
from bench.scale.sizes import SMALL, Size
from bench.scale.worlds import World, serve
from bench.targets import Figure, figures_table

TIMES = 20
MEMORY = "memory"
PARTS = ("calls", "objects", "lists", "late pages", "audit", MEMORY, "changes")
_MEMORY_STEPS = (1_000, 10_000, 50_000, 100_000)


def _operations(late_page: int) -> dict[str, Sequence[Operation]]:
    """Return the operations by part, in order: the last part changes what the others read."""
    parts = (CALLS, OBJECTS, LISTS, tuple(late_pages(late_page)), AUDIT, CHANGES)
    return dict(zip((part for part in PARTS if part != MEMORY), parts, strict=True))


def measure(cores: Cores, size: Size, name: str, parts: Sequence[str] = PARTS, times: int = TIMES) -> int:
    """Measure and print, and write all parts to ``scale.json`` or ``scale-<name>.json``; returns the exit code."""
    os.sched_setaffinity(0, cores.others)
    print("loading ...", flush=True)
    figures: list[Figure] = []
    with serve(cores, SMALL) as small, serve(cores, size) as large:
        for part in parts:
            print(f"{part} ...", flush=True)
            figures_of_part = _memory(large) if part == MEMORY else compare(part, small, large, times)
            print(figures_table(figures_of_part), flush=True)
            figures += figures_of_part
    if set(parts) == set(PARTS):
        settings = {"large": asdict(size), "small": asdict(SMALL)}
        print(
            f"\nWritten to {report.write('scale' if name == 'full' else f'scale-{name}', settings, [], figures)}"
        )
    return 0


def compare(part: str, small: World, large: World, times: int) -> list[Figure]:
    """Return the figures of a part other than memory."""
    operations = _operations(large.loaded.size.late_page)[part]
    return compare_operations(operations, small, large, times)


def _memory(large: World) -> list[Figure]:
    most = len(large.loaded.credentials)
    return memory.measure(large, [min(most, step) for step in _MEMORY_STEPS if step // 10 < most])
