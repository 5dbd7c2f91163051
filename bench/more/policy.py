"""The benchmark of policies: no policy, a hundred and a thousand, with and without some that read the call."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from statistics import median

import asyncpg
import uvloop

from bench import policies, report, rounds
from bench.more import deciding
from bench.processes import CannotMeasure
from bench.rounds import Measured, Plan
from bench.seed import SLUG
from bench.systems import System, mirror
from bench.targets import Figure, at_most
from bench.testbed import DATABASE, Testbed

TOKENS = 500
COUNTS = (100, 1_000)
_NONE = "no policy"
_UNRELATED, _PLAIN = "none reads the call", "three read the call"
_ASKING, _REPEATING = "the engine is asked", "the engine was asked the same"
_BOUNDS = {_UNRELATED: 5, _PLAIN: 100, _ASKING: 100, _REPEATING: 100}


def measure(testbed: Testbed, plan: Plan) -> list[Figure]:
    """Measure all sets under the same load, alternately, each on a copy of the database. Raises ``CannotMeasure``."""
    sets = {_NONE: list[str]()}
    for count in COUNTS:
        unrelated = policies.others(count, SLUG, testbed.seeded.groups)
        sets[_named(count, _UNRELATED)] = unrelated
        sets[_named(count, _PLAIN)] = unrelated + policies.reading(SLUG)
        sets[_named(count, _ASKING)] = unrelated + policies.asking(SLUG)
        sets[_named(count, _REPEATING)] = unrelated + policies.repeating(SLUG)
    spent = deciding.measure(sets, testbed.seeded.groups, 5 * plan.rounds)
    # Two cores cannot run a gateway for each set, so only the extremes are measured.
    whole = [_NONE, *(_named(max(COUNTS), kind) for kind in (_UNRELATED, _ASKING))]
    with ExitStack() as stack:
        systems = [_system(stack, testbed, number, name, sets[name]) for number, name in enumerate(whole)]
        measured = uvloop.run(rounds.measure(systems, testbed.postmaster, plan))
    if failed := report.errors(measured):
        raise CannotMeasure("\n".join(failed))
    decisions = [
        _decision(spent, _named(count, kind), bound) for count in COUNTS for kind, bound in _BOUNDS.items()
    ]
    bounds = (_BOUNDS[_UNRELATED], _BOUNDS[_ASKING])
    calls = [_call(measured, *each, max(plan.callers)) for each in zip(whole[1:], bounds, strict=True)]
    return [*decisions, *calls]


def _named(count: int, kind: str) -> str:
    return f"{count:,} policies, {kind}"


def _system(stack: ExitStack, testbed: Testbed, number: int, name: str, texts: Sequence[str]) -> System:
    database = f"policy{number}"
    asyncio.run(_copied(testbed, database, texts))
    url = testbed.serving_url.replace(f"/{DATABASE}", f"/{database}")
    cores = {testbed.cores.system}
    gateway = stack.enter_context(testbed.gateway(database, cores, SCOPEGATE_DATABASE_URL=url))
    return mirror(testbed, gateway, name)


async def _copied(testbed: Testbed, database: str, texts: Sequence[str]) -> None:
    connection = await asyncpg.connect(testbed.owner_url.replace(f"/{DATABASE}", "/postgres"))
    try:
        await connection.execute(f'CREATE DATABASE "{database}" TEMPLATE "{DATABASE}"')
    finally:
        await connection.close()
    await policies.publish(testbed.owner_url.replace(f"/{DATABASE}", f"/{database}"), texts)


def _decision(spent: Mapping[str, Sequence[float]], name: str, bound: float) -> Figure:
    detail = f"CPU over none published, of {median(spent[_NONE]):.1f}"
    return Figure(f"decision: {name}", deciding.more(spent, name, _NONE), "µs", at_most(bound), detail)


def _call(measured: Sequence[Sequence[Measured]], name: str, bound: float, callers: int) -> Figure:
    """Return the additional CPU time of a call with policies: the median of the differences within rounds."""
    base, more = [], []
    for one in measured:
        cpu = {each.system: each.cpu for each in one if each.sample.callers == callers}
        base.append(cpu[_NONE])
        more.append(cpu[name] - cpu[_NONE])
    detail = f"CPU over none published, of {median(base):.0f}; {min(more):.0f} to {max(more):.0f} by round"
    return Figure(f"call: {name}", median(more), "µs", at_most(bound), detail)
