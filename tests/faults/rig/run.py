"""One run of the fault rig."""

import asyncio
import logging
import shutil
import tempfile
import time
from pathlib import Path

from tests.faults.rig import evidence
from tests.faults.rig.checker import judge
from tests.faults.rig.cluster import Cluster
from tests.faults.rig.faults import strike_of
from tests.faults.rig.history import History, Used
from tests.faults.rig.load import Load
from tests.faults.rig.plan import RunPlan, Verdict, Violation
from tests.faults.rig.report import table
from tests.faults.rig.site import Site, populate, site
from tests.faults.upstream import ECHO

_log = logging.getLogger(__name__)
_SETTLED_S = 1.5
_CELLS = 6
_MANY_KILLS = 20


async def run(plan: RunPlan) -> Verdict:
    """Make the fleet, run the faults of the plan, and check the result.

    Raises ``KeyError`` for a kind of fault that there is not, and ``office.Stuck`` when the service came to a stop.
    """
    for kind in plan.times:
        strike_of(kind)
    place = plan.place or Path(tempfile.mkdtemp(prefix="sg-rig-", dir="/tmp"))
    await asyncio.to_thread(place.mkdir, parents=True, exist_ok=True)
    cluster = Cluster()
    begun = time.monotonic()
    try:
        await asyncio.to_thread(cluster.create)
        async with site(plan, place, cluster) as here:
            await populate(here, _CELLS)
            async with Load(here) as load:
                await here.resumed()
                for kind, times in plan.times.items():
                    _log.info("%s: %d", kind, times)
                    await strike_of(kind)(here, times)
                _log.info("everything is restarted")
                history = await _ended(here, load)
            logs = [gateway.log for gateway in here.gateways]
        dump = await asyncio.to_thread(cluster.dump)
        history.leaks = evidence.leaks(here.fleet.secrets, dump, [*logs, cluster.log])
        history.records = evidence.collected(place, here.upstream.record).records
    finally:
        await asyncio.to_thread(cluster.destroy)
    violations, cuts = await asyncio.to_thread(judge, history)
    text = table(history, violations, cuts, here.struck, here.points, here.notes, time.monotonic() - begun)
    missed = tuple(sorted(name for name, times in here.points.items() if not times))
    return _kept(plan, place, violations, text, missed)


def _kept(plan: RunPlan, place: Path, found: list[Violation], text: str, missed: tuple[str, ...]) -> Verdict:
    violations = tuple(violation for violation in found if violation.judged)
    unjudged = tuple(violation for violation in found if not violation.judged)
    if plan.place is None and not violations:
        shutil.rmtree(place)
    else:
        (place / "table.txt").write_text(text + "\n", encoding="utf-8")
    return Verdict(violations, text, place, unjudged, missed)


async def _ended(here: Site, load: Load) -> History:
    """Restart everything, try again what is over, and gather what the checker needs."""
    for gateway in here.office.serving():
        await here.kill(gateway, "everything-kill")
    await asyncio.to_thread(here.cluster.kill)
    lost_before = time.time()
    await asyncio.to_thread(here.cluster.bring_up)
    await asyncio.gather(*(gateway.rise() for gateway in here.gateways))
    await here.resumed()
    _log.info("what is over is tried again")
    await _again(here, load)
    await load.stop()
    here.over()
    _log.info("all callers have stopped")
    # Outcomes ride with a later statement.
    await asyncio.sleep(_SETTLED_S)
    history = History(audit=await evidence.audited(here))
    kills = sum(times for kind, times in here.struck.items() if kind.endswith("kill"))
    patient = kills >= _MANY_KILLS
    history.outcomes = await evidence.outcomes(here, history.audit, lost_before, patient=patient)
    history.verified = await asyncio.to_thread(evidence.sealed, here)
    return history


async def _again(here: Site, load: Load) -> None:
    """Everything that was used up or taken for good, once more. What comes of dead tokens the checker sees."""
    for id in load.approvals.used:
        ran = any(call.ran for call in await load.approvals.attempt(id))
        here.writer.write(Used("approval", id, ran, "its call ran"))
    await load.pickups.again()
    for cell, event in list(here.world.signals.sent):
        await here.world.signals.push(event)
        token = cell.full
        assert token is not None
        call = await here.callers.call(here.gateways[0].port, token, ECHO)
        here.writer.write(Used("event", event[-12:], not call.ran, f"a new token is answered {call.status}"))
    for cell in here.fleet.cells:
        for token in cell.dead:
            await asyncio.gather(*(here.callers.call(port, token, ECHO) for port in here.ports))
