"""Rounds of load on all systems, alternately, after each of them answers correctly and is warm."""

import asyncio
import gc
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

from bench import load
from bench.processes import CannotMeasure, children_cpu_seconds, cpu_seconds, tail
from bench.systems import System

_CHECKS = 3
_WARM_UP_LIMIT = 60.0


@dataclass(frozen=True, slots=True)
class Plan:
    """The durations of a measurement, in seconds."""

    rounds: int
    window: float
    settle: float
    warm_up: float
    callers: tuple[int, ...] = (1, 16, 64)


@dataclass(frozen=True, slots=True)
class Measured:
    """One system under one load in one round. CPU in microseconds per call; the database's only if it is used."""

    system: str
    sample: load.Sample
    cpu: float
    database_cpu: float | None


async def check(systems: Sequence[System], times: int = _CHECKS) -> None:
    """Check single answers of each system. Raises ``WrongAnswer``."""
    for system in systems:
        try:
            await load.check(system.process.port, system.work, times)
        except load.WrongAnswer as error:
            raise load.WrongAnswer(
                f"{system.name} does not answer correctly:\n{error}\n{tail(system.process.log)}"
            ) from None


async def measure(systems: Sequence[System], postmaster: int, plan: Plan) -> list[list[Measured]]:
    """Measure all rounds. Raises ``WrongAnswer`` or ``CannotMeasure`` before the first."""
    await check(systems)
    for system in systems:
        await _warm_up(system, plan)
    gc.collect()
    gc.freeze()
    rounds = []
    for number in range(plan.rounds):
        print(f"round {number + 1} of {plan.rounds} ...", flush=True)
        rounds.append(await _round(systems, postmaster, plan, number))
    return rounds


async def _warm_up(system: System, plan: Plan) -> None:
    calls = 0
    deadline = perf_counter() + _WARM_UP_LIMIT
    while calls < system.warm_calls:
        if perf_counter() > deadline:
            raise CannotMeasure(f"{system.name} does not get warm:\n{tail(system.process.log)}")
        sample = await load.apply(system.process.port, system.work, max(plan.callers), plan.warm_up, 0)
        calls += sample.all_calls


async def _round(systems: Sequence[System], postmaster: int, plan: Plan, number: int) -> list[Measured]:
    """Measure every system under every load. Each round starts with another system."""
    measured: dict[tuple[int, str], Measured] = {}
    first = number % len(systems)
    for callers in plan.callers:
        for system in (*systems[first:], *systems[:first]):
            measured[callers, system.name] = await _measure(system, postmaster, callers, plan)
    return [measured[callers, system.name] for callers in plan.callers for system in systems]


async def _measure(system: System, postmaster: int, callers: int, plan: Plan) -> Measured:
    gc.collect()
    gc.disable()
    try:
        database_before = children_cpu_seconds(postmaster) if system.records else {}
        before = cpu_seconds(system.process.pid)
        sample = await load.apply(system.process.port, system.work, callers, plan.window, plan.settle)
        used = cpu_seconds(system.process.pid) - before
        database_after = children_cpu_seconds(postmaster) if system.records else {}
    finally:
        gc.enable()
    # Wait for deferred work, such as outcome rows, so that it does not slow the next system.
    await asyncio.sleep(0.05)
    calls = max(1, sample.all_calls)
    database = sum(seconds - database_before.get(pid, 0.0) for pid, seconds in database_after.items())
    return Measured(
        system.name, sample, used / calls * 1e6, database / calls * 1e6 if system.records else None
    )
