"""Gateways that are killed at any instant, or at a named failpoint."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from tests.faults.rig.compiled_in import failpoints
from tests.faults.rig.processes import RigGateway
from tests.faults.rig.provocations import latest_of, provoked
from tests.faults.rig.site import Site

_WITHIN_S = 20.0
_ONCE_MORE = 3


async def gateway_kills(here: Site, times: int) -> None:
    """SIGKILL at any instant; two of three at once while there are three."""
    await _lives(here, [""] * times, "gateway-kill")


async def failpoint_kills(here: Site, times: int) -> None:
    """A gateway kills itself at a named point of the code; all points in turn. When there are as many kills as points,
    those that nothing came to are tried again."""
    names = sorted(failpoints())
    if not names:
        here.notes.append("failpoint-kill: skipped, the code names no points")
        return
    await _at(here, [names[number % len(names)] for number in range(times)])


def at_failpoint(name: str) -> Callable[[Site, int], Awaitable[None]]:
    """Kills at one point of the code."""

    async def strike(here: Site, times: int) -> None:
        await _at(here, [name] * times)

    return strike


async def _at(here: Site, points: Sequence[str]) -> None:
    here.points.update(dict.fromkeys(points, 0))
    await _lives(here, points, "failpoint-kill")
    for _ in range(_ONCE_MORE):
        await _lives(here, [name for name in set(points) if not here.points[name]], "failpoint-kill")


async def _lives(here: Site, deaths: Sequence[str], how: str) -> None:
    waiting = iter(deaths)
    # One keeps serving, for revocations and calls.
    victims = here.gateways[:-1] or here.gateways

    async def kill_again_and_again(gateway: RigGateway) -> None:
        for failpoint in waiting:
            await _one_life(here, gateway, failpoint, how)
            await gateway.rise()

    await asyncio.gather(*(kill_again_and_again(victim) for victim in victims))
    # Each has its turn: the victims of the next time are others.
    here.gateways[:] = here.gateways[-1:] + here.gateways[:-1]


async def _one_life(here: Site, gateway: RigGateway, failpoint: str, how: str) -> None:
    if not failpoint:
        await here.answered(gateway.port, here.random.randrange(1, 60), within_s=3)
        await here.kill(gateway, how)
        return
    # A life of its own: the point is compiled in as the process starts.
    gateway.kill()
    here.fallen(gateway, "gateway-kill")
    await gateway.rise(f"{failpoint}=kill:{here.random.randint(1, latest_of(failpoint))}")
    async with provoked(here, gateway, failpoint):
        reached = await gateway.gone(_WITHIN_S)
    if reached:
        here.fallen(gateway, how)
        here.points[failpoint] += 1
    else:
        here.notes.append(f"{how}: nothing came to {failpoint} within {_WITHIN_S:.0f} s")
        await here.kill(gateway, "gateway-kill")
