"""The rig against deliberately broken builds. Each must be caught, or a passing run would mean nothing.

``python -m tests.faults.rig mutants [NAME ...]`` prints the results. The probes also run without a
mutant; ``python -m tests.faults.rig`` runs the load without one. See ADR 24.
"""

import argparse
import asyncio
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tests import database
from tests.faults.rig import log_probes, probes
from tests.faults.rig.breaks import BREAKS
from tests.faults.rig.plan import RunPlan
from tests.faults.rig.probes import Probe
from tests.faults.rig.run import run


@dataclass(frozen=True, slots=True)
class Mutant:
    """The run or probe that catches a broken build, by violating at least one of these invariants."""

    invariants: frozenset[str]
    catches: RunPlan | Probe


def _load(invariants: str, **times: int) -> Mutant:
    """Caught by a run with these faults (``_`` for ``-``) on two replicas, with a caller at each."""
    plan = RunPlan({kind.replace("_", "-"): count for kind, count in times.items()}, gateways=2, callers=1)
    return Mutant(frozenset(invariants.split()), plan)


def _probe(invariant: str, probe: Probe) -> Mutant:
    return Mutant(frozenset({invariant}), probe)


MUTANTS = {
    "cached_check": _load("I3", revocation=4),
    "audit_after_forward": _load("I1", calm=2),
    "admitted_at_resume": _load("I3", gateway_stop=4),
    "asynchronous_commit": _load("I1", database_kill=4),
    "fail_open": _load("I1 I6", database_refuse=1),
    "error_500": _load("I6 I7", database_refuse=1),
    "scope_at_issue": _load("I5", calm=2),
    "raw_body": _load("I11", calm=2),
    "redirects_followed": _load("I1", calm=2),
    "sent_twice": _load("I1", upstream_throttle=1),
    "no_cut": _load("I4", revocation=4),
    # Seen on calls alone that the upstream has said nothing to yet when they are cut, which few are.
    "half_a_cut": _load("I4", revocation=64),
    "notifications_alone": _probe("I4", probes.stream_unheard),
    "never_blind": _load("I4", gateway_cut_off=1),
    "answered_before_commit": _load("I3", revocation=8),
    "leaving_unmoved": _load("I3 I4", revocation=6),
    "read_apart": _probe("I3", probes.read_while_revoked),
    "approval_unlocked": _probe("I9", probes.approved_once),
    "secret_in_a_log": _load("I2", calm=2),
    "never_unknown": _load("I1", gateway_kill=2),
    "signed_anew": _load("I8", calm=4),
    "late_commits_unsealed": _probe("I8", probes.sealed_late),
    "rewind_unnoticed": _load("I1 I3", database_rewind=1),
    "origin_table_writable": _probe("I8", log_probes.origin_rewritten),
    "epoch_reused": _probe("I8", log_probes.moved_and_back),
}
assert MUTANTS.keys() == BREAKS.keys()


async def violated(name: str, mutant: Mutant) -> frozenset[str]:
    """Return the violated invariants; none without a mutant (``name`` empty)."""
    if isinstance(mutant.catches, RunPlan):
        try:
            verdict = await run(replace(mutant.catches, mutant=name or None))
        except AssertionError as stuck:
            # The service itself can notice lost commits. Then no gateway starts until an administrator confirms.
            if "the database went backwards" not in str(stuck).rstrip().rpartition("\n")[2]:
                raise
            return frozenset({"I1"})
        # The results of a broken build are not needed.
        await asyncio.to_thread(shutil.rmtree, verdict.place, ignore_errors=True)
        return verdict.violated
    return await mutant.catches(name)


async def run_all(names: Sequence[str] = ()) -> bool:
    """Return whether each mutant was caught without a false alarm. Prints a line for each."""
    # The probes' databases are those of tests, which are in a cluster that a session of tests shares.
    database.open_session()
    try:
        return await _run_each(names or tuple(MUTANTS))
    finally:
        await asyncio.to_thread(database.close_process)
        await asyncio.to_thread(database.close_session)


async def _run_each(names: Sequence[str]) -> bool:
    good = True
    for name in names:
        mutant, begun = MUTANTS[name], time.monotonic()
        found = await violated(name, mutant)
        caught = bool(found & mutant.invariants)
        false_alarm = frozenset[str]()
        if not isinstance(mutant.catches, RunPlan):
            false_alarm = await violated("", mutant)
        good = good and caught and not false_alarm
        said = "caught" if caught else "MISSED"
        alarm = f", FALSE ALARM {' '.join(sorted(false_alarm))}" if false_alarm else ""
        took = time.monotonic() - begun
        sys.stdout.write(f"{name:24} {said}: {' '.join(sorted(found)) or 'nothing'}{alarm} ({took:.0f} s)\n")
        sys.stdout.flush()
    return good


def main(arguments: Sequence[str]) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.rig mutants", description=__doc__)
    parser.add_argument("name", nargs="*", choices=[*MUTANTS, []], help="these alone")
    return 0 if asyncio.run(run_all(parser.parse_args(arguments).name)) else 1
