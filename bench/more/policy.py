"""What policies cost a call: none published beside a hundred and a thousand, with and without some that read it."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from statistics import median

import asyncpg
import uvloop

from bench import policies, report, rounds
from bench.ground import DATABASE, Ground
from bench.more import deciding
from bench.processes import CannotMeasure
from bench.rounds import Measured, Plan
from bench.seed import SLUG
from bench.systems import System, mirror
from bench.targets import Figure, at_most

TOKENS = 500
COUNTS = (100, 1_000)
_NONE = "no policy"
_APART, _PLAIN = "none reads the call", "three read the call"
_ASKING, _REPEATING = "the engine is asked", "the engine was asked the same"
_BOUNDS = {_APART: 5, _PLAIN: 100, _ASKING: 100, _REPEATING: 100}


def measure(ground: Ground, plan: Plan) -> list[Figure]:
    """All under the same load, in turns, each gateway on a copy of the database. Raises ``CannotMeasure``."""
    sets = {_NONE: list[str]()}
    for count in COUNTS:
        apart = policies.others(count, SLUG, ground.seeded.groups)
        sets[_named(count, _APART)] = apart
        sets[_named(count, _PLAIN)] = apart + policies.reading(SLUG)
        sets[_named(count, _ASKING)] = apart + policies.asking(SLUG)
        sets[_named(count, _REPEATING)] = apart + policies.repeating(SLUG)
    spent = deciding.measure(sets, ground.seeded.groups, 5 * plan.rounds)
    # A gateway for each would be more than two cores have room for: the most policies, at both ends.
    whole = [_NONE, *(_named(max(COUNTS), kind) for kind in (_APART, _ASKING))]
    with ExitStack() as stack:
        systems = [_system(stack, ground, number, name, sets[name]) for number, name in enumerate(whole)]
        measured = uvloop.run(rounds.measure(systems, ground.postmaster, plan))
    if failed := report.errors(measured):
        raise CannotMeasure("\n".join(failed))
    decisions = [
        _decision(spent, _named(count, kind), bound) for count in COUNTS for kind, bound in _BOUNDS.items()
    ]
    bounds = (_BOUNDS[_APART], _BOUNDS[_ASKING])
    calls = [_call(measured, *each, max(plan.callers)) for each in zip(whole[1:], bounds, strict=True)]
    return [*decisions, *calls]


def _named(count: int, kind: str) -> str:
    return f"{count:,} policies, {kind}"


def _system(stack: ExitStack, ground: Ground, number: int, name: str, texts: Sequence[str]) -> System:
    database = f"policy{number}"
    asyncio.run(_copied(ground, database, texts))
    url = ground.serving_url.replace(f"/{DATABASE}", f"/{database}")
    cores = {ground.cores.system}
    gateway = stack.enter_context(ground.gateway(database, cores, SCOPEGATE_DATABASE_URL=url))
    return mirror(ground, gateway, name)


async def _copied(ground: Ground, database: str, texts: Sequence[str]) -> None:
    connection = await asyncpg.connect(ground.owner_url.replace(f"/{DATABASE}", "/postgres"))
    try:
        await connection.execute(f'CREATE DATABASE "{database}" TEMPLATE "{DATABASE}"')
    finally:
        await connection.close()
    await policies.publish(ground.owner_url.replace(f"/{DATABASE}", f"/{database}"), texts)


def _decision(spent: Mapping[str, Sequence[float]], name: str, bound: float) -> Figure:
    detail = f"CPU over none published, of {median(spent[_NONE]):.1f}"
    return Figure(f"decision: {name}", deciding.more(spent, name, _NONE), "µs", at_most(bound), detail)


def _call(measured: Sequence[Sequence[Measured]], name: str, bound: float, callers: int) -> Figure:
    """The processor time of a whole call more than without policy: within each round, then the median."""
    base, more = [], []
    for one in measured:
        cpu = {each.system: each.cpu for each in one if each.sample.callers == callers}
        base.append(cpu[_NONE])
        more.append(cpu[name] - cpu[_NONE])
    detail = f"CPU over none published, of {median(base):.0f}; {min(more):.0f} to {max(more):.0f} by round"
    return Figure(f"call: {name}", median(more), "µs", at_most(bound), detail)
