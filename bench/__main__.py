"""``python -m bench [calls|more|peers|scale] [--quick]``: measure, print, and write JSON into ``bench/results``."""

import argparse
import os
import sys
from dataclasses import replace

from bench import calls
from bench.load import WrongAnswer
from bench.more import everything
from bench.peers import comparison
from bench.processes import CannotMeasure, Cores, choose_cores
from bench.scale import everything as scale
from bench.scale.sizes import SIZES


def main() -> int:
    """The exit code: 0, 1 when a call failed under load, 2 when nothing could be measured."""
    options = _options()
    cores = choose_cores()
    if cores.shared:
        sys.stderr.write(
            "Only one core: the system and the load share it, so the ratios are not meaningful.\n"
        )
    os.sched_setaffinity(0, {cores.rest})
    try:
        return _measure(cores, options)
    except (CannotMeasure, WrongAnswer) as error:
        sys.stderr.write(f"{error}\n")
        return 2


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("what", nargs="?", default="calls", choices=("calls", "more", "peers", "scale"))
    parser.add_argument("--quick", action="store_true", help="shorter, and less steady")
    more = parser.add_argument_group("of more")
    more.add_argument("--only", nargs="+", choices=tuple(everything.PARTS), help="these parts")
    more.add_argument("--events", type=int, help="length of the long audit log")
    more.add_argument("--revocations", type=int, help="how many tokens are revoked")
    more.add_argument("--flat-seconds", type=float, help="how long memory is watched under load")
    large = parser.add_argument_group("of scale")
    large.add_argument("--size", choices=tuple(SIZES), default="full", help="of the large organization")
    large.add_argument("--parts", nargs="+", choices=scale.PARTS, default=scale.PARTS, help="these alone")
    return parser.parse_args()


def _measure(cores: Cores, options: argparse.Namespace) -> int:
    if options.what == "more":
        size = everything.QUICK if options.quick else everything.FULL
        events = size.events if options.events is None else options.events
        seconds = size.flat_seconds if options.flat_seconds is None else options.flat_seconds
        revocations = size.revocations if options.revocations is None else options.revocations
        size = replace(size, events=events, flat_seconds=seconds, revocations=revocations)
        return everything.measure(cores, size, options.only or tuple(everything.PARTS))
    if options.what == "scale":
        return scale.measure(cores, SIZES[options.size], options.size, options.parts)
    if options.what == "peers":
        return comparison.measure(cores, comparison.QUICK if options.quick else comparison.FULL)
    return calls.measure(cores, calls.QUICK if options.quick else calls.FULL)


if __name__ == "__main__":
    sys.exit(main())
