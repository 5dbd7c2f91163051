"""The benchmark of a second worker process."""

from dataclasses import replace

import uvloop

from bench import report, rounds
from bench.processes import CannotMeasure
from bench.rounds import Plan
from bench.systems import mirror
from bench.targets import Figure, at_least
from bench.testbed import Testbed

_ONE, _TWO = "one worker", "two workers"
TOKENS = 500
_CORES_NEEDED = 4


def measure(testbed: Testbed, plan: Plan) -> list[Figure]:
    """Measure one and two workers under the same load, alternately. Raises ``CannotMeasure`` if a call fails."""
    cores = testbed.cores
    with (
        testbed.gateway(_ONE, {cores.system}) as one,
        testbed.gateway(_TWO, cores.pair, SCOPEGATE_WORKERS="2") as two,
    ):
        single = mirror(testbed, one, _ONE)
        double = mirror(testbed, two, _TWO)
        # Each worker reads each token separately.
        double = replace(double, warm_calls=2 * double.warm_calls)
        measured = uvloop.run(rounds.measure((single, double), testbed.postmaster, plan))
    if failed := report.errors(measured):
        raise CannotMeasure("\n".join(failed))
    callers = max(plan.callers)
    count = len(cores.pair | cores.others)
    return [
        Figure(
            f"two workers, {callers} callers",
            report.ratio(measured, _TWO, _ONE, callers),
            "x",
            at_least(1.7),
            f"of one worker; {count} cores",
            None
            if count >= _CORES_NEEDED
            else "with fewer than four, the load uses the second worker's core",
        )
    ]
