"""The call: through the gateway, beside plain proxies and the upstream alone."""

import uvloop

from bench import report, rounds
from bench.ground import laid
from bench.processes import Cores
from bench.rounds import Plan
from bench.systems import running
from bench.targets import figures_table

TOKENS = 2_000
POLICIES = 100
QUICK = Plan(rounds=3, window=0.5, settle=0.1, warm_up=1.0)
FULL = Plan(rounds=5, window=1.5, settle=0.2, warm_up=3.0)


def measure(cores: Cores, plan: Plan, tokens: int = TOKENS) -> int:
    """Measure, print and write ``latest.json``; the exit code."""
    with laid(cores, tokens, POLICIES) as ground, running(ground) as systems:
        measured = uvloop.run(rounds.measure(systems, ground.postmaster, plan))
    found = report.lines(measured)
    figures = report.figures_of(found)
    print(report.table(found))
    print(figures_table(figures))
    path = report.write("latest", settings_of(plan, cores, tokens), found, figures)
    ground_of = f"{tokens:,} tokens, {POLICIES} policies"
    print(f"\nMedians of {plan.rounds} rounds of {plan.window} s, {ground_of}. Written to {path}")
    failed = report.errors(measured)
    print("\n".join(failed))
    return 1 if failed else 0


def settings_of(plan: Plan, cores: Cores, tokens: int) -> dict[str, object]:
    """For the file of results."""
    return {
        "tokens": tokens,
        "policies": POLICIES,
        "rounds": plan.rounds,
        "window_s": plan.window,
        "cores": [cores.system, cores.rest],
    }
