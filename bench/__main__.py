"""``python -m bench [calls|more|peers] [--quick]``: measure, print, and write JSON into ``bench/results``."""

import argparse
import os
import sys

from bench import calls
from bench.load import WrongAnswer
from bench.processes import CannotMeasure, choose_cores


def main() -> int:
    """The exit code: 0, 1 when a call failed under load, 2 when nothing could be measured."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="shorter, and less steady")
    options = parser.parse_args()
    cores = choose_cores()
    if cores.shared:
        sys.stderr.write("Only one core: system and load share it, and the ratios will flatter nobody.\n")
    os.sched_setaffinity(0, {cores.rest})
    try:
        return calls.measure(cores, calls.QUICK if options.quick else calls.FULL)
    except (CannotMeasure, WrongAnswer) as error:
        sys.stderr.write(f"{error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
