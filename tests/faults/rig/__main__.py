"""``python -m tests.faults.rig``: strike, judge, print a table. Exit code 1 when an invariant did not hold, or
a failpoint was never reached.

``python -m tests.faults.rig soak --minutes 60``: load without faults, and the resources of gateways.
``python -m tests.faults.rig mutants [NAME ...]``: see ``mutants``.
"""

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.faults.rig import mutants
from tests.faults.rig.faults import KINDS
from tests.faults.rig.plan import RunPlan
from tests.faults.rig.run import run
from tests.faults.rig.steadiness import SOAK

_EACH = 2
_GATEWAY_KILLS, _DATABASE_KILLS, _REVOCATIONS = 200, 50, 1000


def main() -> int:
    """The exit code."""
    # Leave nothing behind: as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if sys.argv[1:2] == ["mutants"]:
        return mutants.main(sys.argv[2:])
    soaks = sys.argv[1:2] == [SOAK]
    options = _soak_options(sys.argv[2:]) if soaks else _options()
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("tests.faults.rig").setLevel(logging.INFO)
    times = {SOAK: int(60 * options.minutes)} if soaks else _times(options)
    verdict = asyncio.run(run(RunPlan(times, seed=options.seed, place=options.place)))
    sys.stdout.write(verdict.table + "\n")
    if verdict.violations:
        sys.stdout.write(f"The history is kept in {verdict.place}\n")
        return 1
    if verdict.missed:
        sys.stdout.write(f"Nothing came to {', '.join(verdict.missed)}\n")
        return 1
    return 0


def _times(options: argparse.Namespace) -> dict[str, int]:
    """How often each kind strikes. Half of the kills of gateways are at named points."""
    at_points = options.gateway_kills // 2
    wanted = {
        **dict.fromkeys(KINDS, options.each),
        "calm": 2 * options.each,
        "revocation": options.revocations,
        "gateway-kill": options.gateway_kills - at_points,
        "failpoint-kill": at_points,
        "database-kill": options.database_kills,
    }
    kinds = options.only or list(wanted)
    return {kind: wanted.get(kind, at_points if ":" in kind else options.each) for kind in kinds}


def _soak_options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.rig soak")
    parser.add_argument("--minutes", type=float, default=60.0)
    _add_common(parser)
    return parser.parse_args(arguments)


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--place", type=Path, help="keep the history here")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.rig", description=__doc__)
    parser.add_argument("--gateway-kills", type=int, default=_GATEWAY_KILLS)
    parser.add_argument("--database-kills", type=int, default=_DATABASE_KILLS)
    parser.add_argument("--revocations", type=int, default=_REVOCATIONS)
    parser.add_argument("--each", type=int, default=_EACH, help="how often every other fault strikes")
    parser.add_argument(
        "--only", nargs="+", metavar="KIND", help=f"of {', '.join(KINDS)}, failpoint-kill:NAME"
    )
    _add_common(parser)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
