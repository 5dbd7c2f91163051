"""``python -m bench [--quick]``: measure, print, and write ``bench/results/latest.json``."""

import argparse
import asyncio
import gc
import os
import sys
from dataclasses import dataclass
from time import perf_counter

import uvloop

from bench import load, report
from bench.processes import CannotMeasure, Cores, children_cpu_seconds, choose_cores, cpu_seconds, tail
from bench.report import Measured
from bench.systems import Fleet, System, running

CALLERS = (1, 16, 64)
TOKENS = 2_000
_CHECKS = 3
_WARM_UP_LIMIT = 60.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How long to measure. Seconds."""

    rounds: int
    window: float
    settle: float
    warm_up: float


QUICK = Plan(rounds=3, window=0.5, settle=0.1, warm_up=1.0)
FULL = Plan(rounds=5, window=1.5, settle=0.2, warm_up=3.0)


def main() -> int:
    """The exit code: 0, 1 when a call failed under load, 2 when nothing could be measured."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="about 45 seconds instead of three minutes")
    plan = QUICK if parser.parse_args().quick else FULL
    cores = choose_cores()
    if cores.shared:
        sys.stderr.write("Only one core: system and load share it, and the ratios will flatter nobody.\n")
    os.sched_setaffinity(0, {cores.rest})
    try:
        return _measure_all(plan, cores)
    except (CannotMeasure, load.WrongAnswer) as error:
        sys.stderr.write(f"{error}\n")
        return 2


def _measure_all(plan: Plan, cores: Cores) -> int:
    with running(cores, TOKENS) as fleet:
        rounds = uvloop.run(_rounds(fleet, plan))
    found = report.lines(rounds)
    print(report.table(found))
    settings = {
        "tokens": TOKENS,
        "rounds": plan.rounds,
        "window_s": plan.window,
        "cores": [cores.system, cores.rest],
    }
    report.write(found, settings)
    print(
        f"\nMedians of {plan.rounds} rounds of {plan.window} s, {TOKENS:,} tokens. Written to {report.RESULTS}"
    )
    failed = {f"{line.system} at {line.callers}": line.errors for line in found if line.errors}
    for where, errors in failed.items():
        print(f"ERRORS: {where}: {errors}")
    return 1 if failed else 0


async def _rounds(fleet: Fleet, plan: Plan) -> list[list[Measured]]:
    for system in fleet.systems:
        try:
            await load.check(system.port, system.requests, _CHECKS)
        except load.WrongAnswer as error:
            raise load.WrongAnswer(
                f"{system.name} does not answer as it should:\n{error}\n{tail(system.log)}"
            ) from None
    for system in fleet.systems:
        await _warm_up(system, plan.warm_up)
    gc.collect()
    gc.freeze()
    rounds = []
    for number in range(plan.rounds):
        print(f"round {number + 1} of {plan.rounds} ...", flush=True)
        rounds.append(await _round(fleet, plan, number))
    return rounds


async def _warm_up(system: System, seconds: float) -> None:
    """Load it until each token has been used once and more: then no call reads the database first."""
    calls = 0
    deadline = perf_counter() + _WARM_UP_LIMIT
    while calls < 2 * TOKENS:
        if perf_counter() > deadline:
            raise CannotMeasure(f"{system.name} does not get warm:\n{tail(system.log)}")
        calls += (await load.apply(system.port, system.requests, max(CALLERS), seconds, 0)).all_calls


async def _round(fleet: Fleet, plan: Plan, number: int) -> list[Measured]:
    """Every system under every load, in turns; each round begins with another system."""
    measured: dict[tuple[int, str], Measured] = {}
    first = number % len(fleet.systems)
    for callers in CALLERS:
        for system in (*fleet.systems[first:], *fleet.systems[:first]):
            measured[callers, system.name] = await _measure(system, fleet.postmaster, callers, plan)
    return [measured[callers, system.name] for callers in CALLERS for system in fleet.systems]


async def _measure(system: System, postmaster: int, callers: int, plan: Plan) -> Measured:
    gc.collect()
    gc.disable()
    try:
        database_before = children_cpu_seconds(postmaster) if system.records else {}
        before = cpu_seconds(system.pid)
        sample = await load.apply(system.port, system.requests, callers, plan.window, plan.settle)
        used = cpu_seconds(system.pid) - before
        database_after = children_cpu_seconds(postmaster) if system.records else {}
    finally:
        gc.enable()
    await asyncio.sleep(
        0.05
    )  # What the system still has to do, as outcome rows, is not the next one's burden.
    calls = max(1, sample.all_calls)
    database = sum(seconds - database_before.get(pid, 0.0) for pid, seconds in database_after.items())
    return Measured(
        system.name, sample, used / calls * 1e6, database / calls * 1e6 if system.records else None
    )


if __name__ == "__main__":
    sys.exit(main())
