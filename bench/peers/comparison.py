"""The benchmark of this gateway and its peers, in one run with the same upstream."""

import contextlib
from collections.abc import Sequence

import uvloop

from bench import report, rounds
from bench.calls import TOKENS, run_settings
from bench.peers import contextforge, fastmcp
from bench.processes import Cores
from bench.rounds import Measured, Plan
from bench.systems import GATEWAY, running
from bench.targets import Figure, Target, at_least, figures_table
from bench.testbed import start_testbed

QUICK = Plan(rounds=1, window=2.0, settle=0.5, warm_up=2.0)
FULL = Plan(rounds=3, window=3.0, settle=0.5, warm_up=3.0)
_TARGETS = {contextforge.NAME: at_least(50), fastmcp.NAME: at_least(8)}


def measure(cores: Cores, plan: Plan, tokens: int = TOKENS) -> int:
    """Measure, print and write ``peers.json``; returns the exit code."""
    with contextlib.ExitStack() as stack:
        testbed = stack.enter_context(start_testbed(cores, tokens))
        systems = list(stack.enter_context(running(testbed)))
        versions = {}
        for peer in (fastmcp, contextforge):
            system, version = stack.enter_context(peer.running(testbed))
            systems.append(system)
            versions[system.name] = version
        measured = uvloop.run(rounds.measure(systems, testbed.postmaster, plan))
    summaries = report.summarize(measured)
    figures = key_figures(measured, max(plan.callers), versions)
    print(report.table(summaries))
    print(figures_table(figures))
    path = report.write(
        "peers", {**run_settings(plan, cores, tokens), "versions": versions}, summaries, figures
    )
    print(f"\nMedians of {plan.rounds} rounds of {plan.window} s, {tokens:,} tokens. Written to {path}")
    failed = report.errors(measured)
    print("\n".join(failed))
    return 1 if failed else 0


def key_figures(
    measured: Sequence[Sequence[Measured]], callers: int, versions: dict[str, str]
) -> list[Figure]:
    """Return the throughput of each endpoint relative to each peer."""

    def figure(mine: str, peer: str, target: Target) -> Figure:
        times = report.ratio(measured, mine, peer, callers)
        return Figure(
            f"throughput, {callers} callers: {mine}", times, "x", target, f"of {peer} {versions[peer]}"
        )

    return [figure(mine, peer, target) for peer, target in _TARGETS.items() for mine in GATEWAY]
