"""One run of the fault rig."""

from tests.faults.rig.plan import RunPlan, Verdict


async def run(plan: RunPlan) -> Verdict:
    """Make the fleet, strike it as the plan says, and judge what became of it."""
    raise NotImplementedError(plan)
