"""The benchmark of a call: through the gateway, plain proxies, and to the upstream only."""

import uvloop

from bench import report, rounds
from bench.processes import Cores
from bench.rounds import Plan
from bench.systems import running
from bench.targets import figures_table
from bench.testbed import start_testbed

TOKENS = 2_000
POLICIES = 100
QUICK = Plan(rounds=3, window=0.5, settle=0.1, warm_up=1.0)
FULL = Plan(rounds=5, window=1.5, settle=0.2, warm_up=3.0)


def measure(cores: Cores, plan: Plan, tokens: int = TOKENS) -> int:
    """Measure, print and write ``latest.json``; returns the exit code."""
    with start_testbed(cores, tokens, POLICIES) as testbed, running(testbed) as systems:
        measured = uvloop.run(rounds.measure(systems, testbed.postmaster, plan))
    summaries = report.summarize(measured)
    figures = report.key_figures(summaries)
    print(report.table(summaries))
    print(figures_table(figures))
    path = report.write("latest", run_settings(plan, cores, tokens), summaries, figures)
    print(
        f"\nMedians of {plan.rounds} rounds of {plan.window} s, {tokens:,} tokens, {POLICIES} policies. "
        f"Written to {path}"
    )
    failed = report.errors(measured)
    print("\n".join(failed))
    return 1 if failed else 0


def run_settings(plan: Plan, cores: Cores, tokens: int) -> dict[str, object]:
    """Return the settings for the results file."""
    return {
        "tokens": tokens,
        "policies": POLICIES,
        "rounds": plan.rounds,
        "window_s": plan.window,
        "cores": [cores.system, cores.rest],
    }
