"""A short run of the fault rig, with some of every fast fault."""

import pytest

from tests.faults.rig.plan import RunPlan
from tests.faults.rig.run import run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
SHORT = {
    "revocation": 16,
    "gateway-kill": 3,
    "failpoint-kill:before_outcome": 1,
    "failpoint-kill:after_admission": 1,
    "gateway-stop": 1,
    "database-kill": 2,
    "database-swallow": 1,
}


async def test_the_invariants_hold_under_all_faults() -> None:
    verdict = await run(RunPlan(SHORT))
    assert verdict.violations == (), f"{verdict.table}\n{verdict.place}"
    assert verdict.missed == (), verdict.table
