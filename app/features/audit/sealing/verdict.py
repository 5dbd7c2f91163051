"""The result of a verification: faults in words, and the first bad range."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from app.crypto.log_check import Entry, Finding, Kind
from app.lib.ids import EVENT, format_id

MAX_FAULTS = 1_000
"""Maximum of listed faults; the others are only counted."""


_WORDS = {
    Kind.CHANGED: "the event at position {at} was changed after it was sealed: it is {event} now",
    Kind.MISSING: "{what}: what was sealed there is missing",
    Kind.INSERTED: "an event was put in before position {first}, where none was sealed: {event}",
    Kind.OUT_OF_ORDER: "the event of position {at} is at another place: {event}",
    Kind.UNEXPLAINED: "what is there at {what} does not give the signed root: something of it was changed, "
    "removed or put in",
    Kind.HASHES: "the kept hashes of {what} are not those of what was sealed",
    Kind.REWRITTEN: "the events up to position {last} are not those of the checkpoint that was kept elsewhere",
    Kind.CUT_OFF: "{what} were sealed, and are lost",
}
SIGNATURE = "signature"
"""A note without a valid signature, or one that contradicts its stored row."""


CHECKPOINT = "checkpoint"
"""A signed checkpoint is missing."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A checkpoint's place in the log: its size, and when it was signed or, if that is unknown, the time of its last
    event."""

    size: int
    time: str | None = None
    is_signing: bool = True

    def __str__(self) -> str:
        when = "signed" if self.is_signing else "with a last event of"
        return f"{self.size}" if self.time is None else f"{self.size}, {when} {self.time}"


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault, with the positions ``first`` up to, but without, ``end``, and the checkpoints around it."""

    kind: str
    first: int
    end: int
    words: str
    event_id: str | None = None
    event_time: str | None = None
    after: Mark | None = None
    before: Mark | None = None


@dataclass(slots=True)
class Verdict:
    """The result for the positions ``first`` to ``end``. ``unsealed`` events come after them."""

    first: int = 0
    end: int = 0
    events: int = 0
    checkpoints: int = 0
    dropped: int = 0
    notes: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    count: int = 0

    @property
    def is_intact(self) -> bool:
        """Whether no fault was found."""
        return not self.count

    def add(self, fault: Fault) -> None:
        """Add a fault."""
        self.count += 1
        if len(self.faults) < MAX_FAULTS:
            self.faults.append(fault)

    def add_findings(self, findings: Iterable[Finding], after: Mark, before: Mark) -> None:
        """Add the findings between two marks."""
        for finding in findings:
            self.add(describe_finding(finding, after, before))

    def bad_range(self) -> Fault | None:
        """The first fault, extended by those that follow it without a gap."""
        faults = (
            sorted(
                (fault for fault in self.faults if fault.kind != SIGNATURE),
                key=lambda fault: (fault.first, fault.end),
            )
            or self.faults
        )
        if not faults:
            return None
        first, end, last = faults[0].first, faults[0].end, faults[0]
        for fault in faults[1:]:
            if fault.first > end:
                break
            if fault.end > end:
                end, last = fault.end, fault
        return Fault("range", first, end, "", after=faults[0].after, before=last.before)

    def as_json(self) -> dict[str, Any]:
        """The result as JSON, for programs."""
        bad = self.bad_range()
        return {
            "ok": self.is_intact,
            "from": self.first,
            "to": self.end,
            "events": self.events,
            "checkpoints": self.checkpoints,
            "dropped": self.dropped,
            "notes": self.notes,
            "fault_count": self.count,
            "first_bad_range": None if bad is None else _range_json(bad),
            "faults": [
                {
                    "kind": str(fault.kind),
                    **_range_json(fault),
                    "event_id": fault.event_id,
                    "event_time": fault.event_time,
                    "detail": fault.words,
                }
                for fault in self.faults
            ],
        }

    def lines(self) -> list[str]:
        """The result in lines for people; the last line is the summary."""
        lines = [f"note   {note}" for note in self.notes]
        lines += [f"FAULT  {fault.words}" for fault in self.faults]
        if self.count > len(self.faults):
            lines.append(f"FAULT  and {self.count - len(self.faults)} more")
        bad = self.bad_range()
        if bad is not None:
            lines.append(f"first bad range: {_around(bad)}")
        extent = "no events are sealed" if self.first == self.end else f"{positions(self.first, self.end)}"
        dropped = f", {self.dropped} of them past the retention and dropped" if self.dropped else ""
        sums = f"{self.events} events, {self.checkpoints} checkpoints"
        if self.is_intact:
            lines.append(f"The log is what was sealed: {extent}{dropped} ({sums}).")
        else:
            many = f"{self.count} faults" if self.count > 1 else "1 fault"
            lines.append(f"The log is NOT what was sealed: {many} at {extent}{dropped} ({sums}).")
        return lines


def describe_finding(finding: Finding, after: Mark | None, before: Mark | None) -> Fault:
    """Describe a finding in words."""
    entry = finding.entry
    id = None if entry is None else _event_id(entry)
    time = None if entry is None else entry.text_field("time")
    event = f"{id or 'one that cannot be read'}{f' of {time}' if time else ''}"
    what = positions(finding.first, finding.end)
    words = _WORDS[finding.kind].format(
        at=finding.first, first=finding.first, last=finding.end - 1, event=event, what=what
    )
    return Fault(finding.kind, finding.first, finding.end, words, id, time, after, before)


def positions(first: int, end: int) -> str:
    """Describe a range of positions in words."""
    if end - first == 1:
        return f"position {first}"
    return f"positions {first} to {end - 1}"


def _event_id(entry: Entry) -> str | None:
    id = entry.text_field("id")
    try:
        return None if id is None else format_id(EVENT, UUID(id))
    except ValueError:
        return None


def _around(bad: Fault) -> str:
    where = f"before position {bad.first}" if bad.first == bad.end else positions(bad.first, bad.end)
    if bad.after is None or bad.before is None:
        return where
    return f"{where}, between the checkpoints of so many events: {bad.after} and {bad.before}"


def _range_json(fault: Fault) -> dict[str, Any]:
    return {
        "from": fault.first,
        "to": fault.end,
        "checkpoint_before": None if fault.after is None else _mark_json(fault.after),
        "checkpoint_after": None if fault.before is None else _mark_json(fault.before),
    }


def _mark_json(mark: Mark) -> dict[str, Any]:
    return {"tree_size": mark.size, "signed_at" if mark.is_signing else "last_event_at": mark.time}
