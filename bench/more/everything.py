"""All parts of ``python -m bench more``."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench import report
from bench.more import console, cuts, issuing, listing, memory, policy, workers
from bench.processes import Cores
from bench.rounds import Plan
from bench.targets import Figure, figures_table
from bench.testbed import start_testbed


@dataclass(frozen=True, slots=True)
class Size:
    """The size of each part."""

    plan: Plan
    tokens: int
    base_tokens: int
    """Tokens in use before the first memory reading."""
    revocations: int
    flat_seconds: float
    events: int
    people: int
    """People in the console without tokens."""
    late_page: int
    times: int
    """Repetitions for each page."""


QUICK = Size(
    Plan(rounds=3, window=0.5, settle=0.1, warm_up=1.0, callers=(64,)),
    tokens=4_200,
    base_tokens=1_000,
    revocations=30,
    flat_seconds=10,
    events=100_000,
    people=20_000,
    late_page=200,
    times=20,
)
FULL = Size(
    Plan(rounds=5, window=2.0, settle=0.2, warm_up=3.0, callers=(64,)),
    tokens=20_200,
    base_tokens=2_000,
    revocations=1_000,
    flat_seconds=60,
    events=1_000_000,
    people=100_000,
    late_page=1_000,
    times=40,
)

Part = Callable[[Cores, Size], list[Figure]]


def _workers(cores: Cores, size: Size) -> list[Figure]:
    with start_testbed(cores, min(size.tokens, workers.TOKENS)) as testbed:
        return workers.measure(testbed, size.plan)


def _policy(cores: Cores, size: Size) -> list[Figure]:
    with start_testbed(cores, min(size.tokens, policy.TOKENS)) as testbed:
        return policy.measure(testbed, size.plan)


def _issuing(cores: Cores, size: Size) -> list[Figure]:
    with start_testbed(cores, 1) as testbed:
        return issuing.measure(testbed, size.plan)


def _cuts(cores: Cores, size: Size) -> list[Figure]:
    with start_testbed(cores, size.revocations) as testbed:
        return cuts.measure(testbed)


def _memory(cores: Cores, size: Size) -> list[Figure]:
    with start_testbed(cores, size.tokens) as testbed:
        return memory.measure(testbed, size.base_tokens, size.flat_seconds)


def _listing(cores: Cores, size: Size) -> list[Figure]:
    return listing.measure(cores, size.tokens, size.events, size.times, size.late_page)


def _console(cores: Cores, size: Size) -> list[Figure]:
    return console.measure(cores, size.tokens, size.events, size.people, size.times)


PARTS: dict[str, Part] = {
    "policy": _policy,
    "workers": _workers,
    "issuing": _issuing,
    "cuts": _cuts,
    "memory": _memory,
    "lists": _listing,
    "console": _console,
}


def measure(cores: Cores, size: Size, parts: Sequence[str]) -> int:
    """Measure and print, and write ``more.json`` after all parts; returns the exit code."""
    os.sched_setaffinity(0, cores.others)
    figures: list[Figure] = []
    for name in parts:
        print(f"{name} ...", flush=True)
        found = PARTS[name](cores, size)
        print(figures_table(found), flush=True)
        figures += found
    if set(parts) == set(PARTS):
        settings = {
            "tokens": size.tokens,
            "events": size.events,
            "revocations": size.revocations,
            "flat_s": size.flat_seconds,
        }
        print(f"\nWritten to {report.write('more', settings, [], figures)}")
    return 0
