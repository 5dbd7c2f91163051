"""The checker finds every violation in hand-made histories, and none in correct ones."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults.rig.availability import CUT_SAYS, MOVING_SAYS, RESTING_SAYS, UNRECORDED_SAYS
from tests.faults.rig.checker import judge
from tests.faults.rig.compiled_in import ROOT
from tests.faults.rig.history import (
    BY_ITSELF,
    THE_END,
    Audited,
    Call,
    Closed,
    Disturbance,
    DriverDelay,
    GatewayLife,
    Granted,
    History,
    Received,
    Record,
    Request,
    Restored,
    Used,
    Withdrawn,
    line_of,
    read,
)
from tests.faults.rig.recorder import STREAM
from tests.faults.upstream import ECHO

PORT = 1
GIVEN = Granted("t", "s", [ECHO, STREAM], 1.0)
LIFE = GatewayLife(PORT, 0.0, 1000.0, THE_END)
CALL = Call("c", PORT, "t", "s", ECHO, 10.0, 10.2, 200, ran=True)
RECEIVED = Received("c", 10.1, 1010.1, "ok")
AUDITED = Audited("c", "evt_1", "allow", 1010.05, finished=True)
TAKEN = Withdrawn("r", "token", PORT, 20.0, 20.1, ["t"], "s")
FLOW = Call("f", PORT, "t", "s", STREAM, 12.0, 20.15, 200, ran=True, opened=12.1)
FLOWS: list[Record] = [FLOW, Received("f", 12.1, 1012.1, "ok"), Closed("f", 20.2)]
FLOW_AUDITED = Audited("f", "evt_2", "allow", 1012.05, finished=True)
AWAY = Disturbance("database-stop", 30.0, 40.0, [PORT], "refused", blind=True)
REFUSED = Call("x", PORT, "t", "s", ECHO, 32.0, 33.5, 503, retry_after=True)
SLOWED = Disturbance("database-throttle", 30.0, 40.0, [PORT], "slow")
FULL = Disturbance("wal-disk-full", 30.0, 40.0, [PORT], "mixed", blind=True)
CUT = Call("k", PORT, "t", "s", ECHO, 32.0, 34.1, 200, said=f"{CUT_SAYS} while it ran.")
CUT_AUDITED = Audited("k", "evt_4", "allow", 1033.4, finished=True)
UNRECORDED = replace(REFUSED, started=60.0, ended=61.1, said=f"{UNRECORDED_SAYS} at the moment.")
COUNTED = replace(GIVEN, counted=True)
OTHER_STOPPED = Disturbance("gateway-stop", 59.0, 62.0, [2], blind=True, frozen=True)
MOVING = replace(REFUSED, started=60.0, ended=60.3, said=f"{MOVING_SAYS} to decide.")
CHANGES = [Request("POST", "/x", 2, 60.0 + number / 20, 60.04 + number / 20, 201) for number in range(4)]
RESTING = replace(REFUSED, started=60.0, ended=60.1, said=f"{RESTING_SAYS}. Try again later.")
LATE = DriverDelay(59.9, 62.9, 0.6, 0.9)


def history(*records: Record, audit: tuple[Audited, ...] = (AUDITED, FLOW_AUDITED)) -> History:
    """A history in which a call ran and what else is said happened."""
    return History([LIFE, GIVEN, CALL, RECEIVED, *records], list(audit))


def violated(found: History) -> set[str]:
    """The invariants that did not hold."""
    return {violation.invariant for violation in judge(found)[0] if violation.judged}


GOOD: dict[str, History] = {
    "a call": history(),
    "a stream that is cut": history(*FLOWS, TAKEN),
    "a call before a revocation that ends after it": history(
        Call("y", PORT, "t", "s", ECHO, 20.05, 20.3, 200, ran=True), Received("y", 20.2, 1020.2, "ok"), TAKEN,
        audit=(AUDITED, Audited("y", "evt_3", "allow", 1020.15, finished=True)),
    ),
    "a call that a held upstream receives long after a revocation": history(
        Call("y", PORT, "t", "s", ECHO, 19.9, 23.4, 200, ran=True), Received("y", 23.3, 1023.3, "ok"), TAKEN,
        Disturbance("upstream-hold", 19.5, 23.2, [PORT]),
        audit=(AUDITED, Audited("y", "evt_3", "allow", 1019.95, finished=True)),
    ),
    "a call that began while it was taken and ran when it was back": history(
        Call("y", PORT, "t", "s", ECHO, 21.0, 22.5, 200, ran=True), Received("y", 22.2, 1022.2, "ok"), TAKEN,
        Restored("r", 22.0, 22.1), audit=(AUDITED, Audited("y", "evt_3", "allow", 1022.1, finished=True)),
    ),
    "a refusal while the database is away": history(AWAY, REFUSED),
    "a stream of a worker that cannot see": history(
        replace(FLOW, ended=41.0), FLOWS[1], Closed("f", 41.0),
        Disturbance("gateway-cut-off", 30.0, 44.0, [PORT], "refused", blind=True),
    ),
    "a result that a slow database takes its time for": history(
        SLOWED, Call("y", PORT, "t", "s", ECHO, 32.0, 36.0, 200, ran=True), Received("y", 35.9, 1035.9, "ok"),
        audit=(AUDITED, Audited("y", "evt_3", "allow", 1035.8, finished=True)),
    ),
    "a refusal by a slow database": history(SLOWED, replace(REFUSED, ended=33.9)),
    "a call on its way that cannot be decided again on a full disk": history(
        FULL, CUT, Received("k", 33.5, 1033.5, "ok"), audit=(AUDITED, CUT_AUDITED)
    ),
    "a wait for a lock of a gateway that stands still": history(COUNTED, OTHER_STOPPED, UNRECORDED),
    "a call that is overtaken by four changes": history(MOVING, *CHANGES),
    "an upstream that is left alone for long": history(Disturbance("upstream-refuse", 36.0, 40.0, [PORT]), RESTING),
    "a refusal by a server that a fault concerns": history(
        Disturbance("upstream-hold", 59.0, 63.0, [PORT], servers=["s"]), replace(RESTING, status=502)
    ),
    "a lost call": history(GatewayLife(2, 0.0, 50.0, "gateway-kill"), Call("z", 2, "t", "s", ECHO, 49.0, 49.5)),
}  # fmt: skip

BAD: dict[str, tuple[str, History]] = {
    "received without a record": ("I1", history(audit=())),
    "denied and received": ("I1", history(audit=(replace(AUDITED, decision="deny"),))),
    "written after it was received": ("I1", history(audit=(replace(AUDITED, time=1010.2),))),
    "received twice": ("I1", history(RECEIVED)),
    "received elsewhere": ("I1", history(replace(RECEIVED, where="/elsewhere"))),
    "began after the answer": (
        "I3",
        history(
            Call("y", PORT, "t", "s", ECHO, 20.2, 20.4, 200, ran=True), Received("y", 20.3, 1020.3, "ok"), TAKEN,
            audit=(AUDITED, Audited("y", "evt_3", "allow", 1020.25, finished=True)),
        ),
    ),
    "sent long after the answer, on an admission of before it": (
        "I3",
        history(
            Call("y", PORT, "t", "s", ECHO, 19.9, 23.4, 200, ran=True), Received("y", 23.3, 1023.3, "ok"), TAKEN,
            Disturbance("gateway-stop", 20.0, 23.2, [PORT], blind=True, frozen=True),
            audit=(AUDITED, Audited("y", "evt_3", "allow", 1019.95, finished=True)),
        ),
    ),
    "a stream that goes on": ("I4", history(replace(FLOW, ended=22.5), *FLOWS[1:], TAKEN)),
    "an upstream that is not notified": ("I4", history(*FLOWS[:2], Closed("f", 22.5), TAKEN)),
    "an upstream that is never notified": ("I4", history(*FLOWS[:2], TAKEN)),
    "a stream that outlives a worker's sight": (
        "I4",
        history(
            replace(FLOW, ended=43.0), FLOWS[1], Closed("f", 43.0),
            Disturbance("gateway-cut-off", 30.0, 44.0, [PORT], "refused", blind=True),
        ),
    ),
    "out of scope": (
        "I5",
        history(
            Call("y", PORT, "t", "s", "moved", 11.0, 11.2, 200), Received("y", 11.1, 1011.1, "ok"),
            audit=(AUDITED, Audited("y", "evt_3", "allow", 1011.0, finished=True)),
        ),
    ),
    "of no caller": ("I5", history(replace(RECEIVED, call="q"))),
    "an allow while the database is away": ("I6", history(AWAY, replace(REFUSED, status=200, ran=True))),
    "a late refusal": ("I6", history(AWAY, replace(REFUSED, ended=34.5))),
    "a refusal that says no more": ("I6", history(AWAY, replace(REFUSED, retry_after=False))),
    "another refusal": ("I6", history(AWAY, replace(REFUSED, status=401))),
    "a refusal without a fault": ("I6", history(REFUSED)),
    "a refusal long after a fault": ("I6", history(AWAY, replace(REFUSED, started=45.5, ended=46.0))),
    "a late refusal by a slow database": ("I6", history(SLOWED, replace(REFUSED, ended=34.1))),
    "another refusal by a slow database": ("I6", history(SLOWED, replace(REFUSED, status=401))),
    "a cut on a full disk of a call that is not on record": ("I6", history(FULL, CUT)),
    "a cut on a full disk without an attempt to avoid it": (
        "I6", history(FULL, replace(CUT, ended=32.5), audit=(AUDITED, CUT_AUDITED)),
    ),
    "a cut on a full disk that came too late": (
        "I6", history(FULL, replace(CUT, ended=36.5), audit=(AUDITED, CUT_AUDITED)),
    ),
    "a cut without a fault": ("I6", history(CUT, audit=(AUDITED, CUT_AUDITED))),
    "a cut while all gateways see the database": (
        "I6", history(replace(FULL, blind=False), CUT, audit=(AUDITED, CUT_AUDITED)),
    ),
    "a wait for a lock without a holder": ("I6", history(COUNTED, UNRECORDED)),
    "a wait for a lock by a call that takes none": ("I6", history(OTHER_STOPPED, UNRECORDED)),
    "a refusal during a lock that did not wait for it": (
        "I6", history(COUNTED, OTHER_STOPPED, replace(UNRECORDED, ended=60.3)),
    ),
    "a call that is overtaken by fewer changes": ("I6", history(MOVING, *CHANGES[:3])),
    "an upstream that is left alone for ever": (
        "I6", history(Disturbance("upstream-refuse", 20.0, 24.0, [PORT]), RESTING),
    ),
    "a refusal by a server that no fault concerns": (
        "I6", history(Disturbance("upstream-hold", 59.0, 63.0, [PORT], servers=["q"]), replace(RESTING, status=502)),
    ),
    "a quick refusal by whom the driver was too late for": (
        "I6", history(LATE, replace(UNRECORDED, ended=60.5)),
    ),
    "a refusal that came later than the driver was": (
        "I6", history(replace(LATE, late_s=0.2, worst_s=0.2), UNRECORDED),
    ),
    "a gateway that ends": ("I6", history(GatewayLife(PORT, 1000.0, 1001.0, BY_ITSELF))),
    "a call that is answered 500": ("I7", history(replace(REFUSED, status=500))),
    "a request that is answered 500": ("I7", history(Request("POST", "/x", PORT, 1.0, 2.0, 500))),
    "an approval that works twice": ("I9", history(Used("approval", "c", opened=True, said="it ran"))),
    "bytes of the client": ("I11", history(replace(RECEIVED, raw=True))),
}  # fmt: skip


@pytest.mark.parametrize("found", GOOD.values(), ids=GOOD.keys())
def test_correct_histories_have_no_violations(found: History) -> None:
    assert judge(found)[0] == []


@pytest.mark.parametrize(("invariant", "found"), BAD.values(), ids=BAD.keys())
def test_every_violation_is_found(invariant: str, found: History) -> None:
    assert invariant in violated(found)


UNJUDGED: dict[str, History] = {
    "a late refusal": history(
        AWAY, replace(REFUSED, ended=34.5), replace(LATE, began=32.0, ended=34.5)
    ),
    "a deadline that passed": history(LATE, UNRECORDED),
    "a refusal soon after service should have resumed": history(
        AWAY, replace(REFUSED, started=45.2, ended=45.4), replace(LATE, began=41.0, ended=43.0)
    ),
    "a stream that was cut late": history(
        replace(FLOW, ended=22.5), *FLOWS[1:], TAKEN, replace(LATE, began=20.0, ended=22.5)
    ),
    "a stream that a worker without sight ended late": history(
        replace(FLOW, ended=42.0), FLOWS[1], Closed("f", 42.0), replace(LATE, began=39.0, ended=41.0),
        Disturbance("gateway-cut-off", 30.0, 44.0, [PORT], "refused", blind=True),
    ),
}  # fmt: skip


@pytest.mark.parametrize("found", UNJUDGED.values(), ids=UNJUDGED.keys())
def test_a_delay_of_the_driver_itself_is_reported_and_not_judged(found: History) -> None:
    [violation] = judge(found)[0]
    assert not violation.judged
    assert "the driver was late by 0.60 s" in violation.what


def test_a_delayed_driver_does_not_excuse_an_endless_stream_or_an_allowed_call() -> None:
    late = DriverDelay(0.0, 100.0, 50.0, 99.0)
    assert violated(history(*FLOWS[:2], TAKEN, late)) == {"I4"}
    assert violated(history(AWAY, replace(REFUSED, status=200, ran=True), late)) == {"I6"}


def test_the_checker_knows_the_messages_of_the_gateway() -> None:
    said = "".join(path.read_text() for path in (ROOT / "app" / "gateway").rglob("*.py"))
    for text in (CUT_SAYS, UNRECORDED_SAYS, MOVING_SAYS, RESTING_SAYS):
        assert f'"{text}' in said


def _leak(found: History) -> None:
    found.leaks.append("a log")


def _broken_seal(found: History) -> None:
    found.verified = "audit verify: a row was changed"


def _known_outcome(found: History) -> None:
    found.outcomes["c"] = "in_flight"


@pytest.mark.parametrize(
    ("invariant", "spoil"), [("I1", _known_outcome), ("I2", _leak), ("I8", _broken_seal)]
)
def test_evidence_at_the_end_is_checked(invariant: str, spoil: Callable[[History], None]) -> None:
    found = history()
    spoil(found)
    assert violated(found) == {invariant}


def test_cuts_are_measured_from_the_answer_on_both_connections() -> None:
    [cut] = judge(history(*FLOWS, TAKEN))[1]
    assert (round(cut.caller_s, 3), round(cut.upstream_s or 0.0, 3)) == (0.05, 0.1)


def test_a_history_is_read_back_without_a_truncated_line(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    records: list[Record] = [GIVEN, CALL, TAKEN, Restored("r", 1.0, 2.0), AWAY, *FLOWS]
    path.write_text("".join(map(line_of, records)) + line_of(LIFE)[:-4])
    assert list(read(path)) == records
