"""Verdicts on the log: faults in words, the first bad range, and comparisons with checkpoints kept elsewhere.

Exported leaves are verified without a database: the whole log from its beginning, or a range. A range needs its proof:
the sibling hashes that lead to a checkpoint's root. A proof may also contain the hashes of the leaves, which count only
after they have led to that root, and then show which line is wrong.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Any
from uuid import UUID

from app.crypto.log_check import Entry, Finding, Follower, Head, Kind, LeafFault, Place
from app.crypto.signed_notes import Checkpoint, Note, NoteFault, Signed
from app.db.connection import Connection
from app.domain.merkle import EMPTY_ROOT, Frontier, cover, leaf_hash
from app.features.audit.sealing import leaves
from app.features.audit.sealing.leaves import LogFault, SealedTree, StoredCheckpoint, leaf_of, place_of
from app.lib.ids import EVENT, format_id

MAX_FAULTS = 1_000
"""Maximum of listed faults; the others are only counted."""

_WORDS = {
    Kind.CHANGED: "the event at position {at} was changed after it was sealed: it is {event} now",
    Kind.MISSING: "{what}: what was sealed there is missing",
    Kind.INSERTED: "an event was put in before position {at}, where none was sealed: {event}",
    Kind.OUT_OF_ORDER: "the event of position {at} is at another place: {event}",
    Kind.UNEXPLAINED: "what is there at {what} does not give the signed root: something of it was changed, "
    "removed or put in",
    Kind.HASHES: "the kept hashes of {what} are not those of what was sealed",
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

    def as_json(self) -> dict[str, Any]:
        return {"tree_size": self.size, "signed_at" if self.is_signing else "last_event_at": self.time}


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
        """Add the findings between two marks, in words."""
        for finding in findings:
            entry, what = finding.entry, positions(finding.first, finding.end)
            id, time = (None, None) if entry is None else (_event_id(entry), entry.text_field("time"))
            event = f"{id or 'one that cannot be read'}{f' of {time}' if time else ''}"
            words = _WORDS[finding.kind].format(at=finding.first, event=event, what=what)
            self.add(Fault(finding.kind, finding.first, finding.end, words, id, time, after, before))

    def bad_range(self) -> Fault | None:
        """The first fault, extended by those that follow it without a gap."""
        located = (fault for fault in self.faults if fault.kind != SIGNATURE)
        faults = sorted(located, key=lambda fault: (fault.first, fault.end)) or self.faults
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
            where = f"before position {bad.first}" if bad.first == bad.end else positions(bad.first, bad.end)
            if bad.after is not None and bad.before is not None:
                where += f", between the checkpoints of so many events: {bad.after} and {bad.before}"
            lines.append(f"first bad range: {where}")
        extent = "no events are sealed" if self.first == self.end else f"{positions(self.first, self.end)}"
        dropped = f", {self.dropped} of them past the retention and dropped" if self.dropped else ""
        sums = f"{self.events} events, {self.checkpoints} checkpoints"
        many = f"{self.count} faults" if self.count > 1 else "1 fault"
        what = (
            "The log is what was sealed:" if self.is_intact else f"The log is NOT what was sealed: {many} at"
        )
        return [*lines, f"{what} {extent}{dropped} ({sums})."]


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


def _range_json(fault: Fault) -> dict[str, Any]:
    return {
        "from": fault.first,
        "to": fault.end,
        "checkpoint_before": None if fault.after is None else fault.after.as_json(),
        "checkpoint_after": None if fault.before is None else fault.before.as_json(),
    }


_EPOCHS = "SELECT epoch, opened_at, last_checkpoint FROM log_epochs WHERE last_checkpoint IS NOT NULL ORDER BY epoch"
_AT_ONCE = 4_096


@dataclass(frozen=True, slots=True)
class ExternalCheckpoint:
    """A checkpoint from elsewhere with a verified signature, and its name."""

    source: str
    checkpoint: Checkpoint
    signed: tuple[Signed, ...] = ()

    @property
    def witnessed(self) -> str:
        """The witnesses, in words that follow the name."""
        witnesses = [each for each in self.signed if each.at is not None]
        names = ", ".join(f"{each.key.name} at {_when(each.at or 0)}" for each in witnesses)
        return f", witnessed by {names}," if names else ""


async def compare_checkpoints(
    connection: Connection,
    verdict: Verdict,
    kept: Sequence[ExternalCheckpoint],
    latest: StoredCheckpoint | None,
    reached: Mapping[ExternalCheckpoint, bool],
) -> None:
    """Report for each kept checkpoint whether the log is the one that it was signed for. ``reached`` has, for those no
    larger than the log, whether it has their roots, as far as known."""
    sealed, agreed = 0 if latest is None else latest.size, 0
    for external in sorted(kept, key=lambda each: each.checkpoint.size):
        size = external.checkpoint.size
        description = f"the checkpoint of {size} events in {external.source}{external.witnessed}"
        agrees = external.checkpoint.root == EMPTY_ROOT if size == 0 else reached.get(external)
        if size > sealed:
            verdict.add(await _cut_off(connection, external, latest, agreed))
        elif agrees is None:
            verdict.notes.append(
                f"{description} cannot be compared with a log that differs from what was sealed before it"
            )
        elif agrees:
            agreed = size
            verdict.notes.append(f"{description} is of this log")
        else:
            verdict.add(await _rewritten(connection, external, agreed))


async def _rewritten(connection: Connection, external: ExternalCheckpoint, agreed: int) -> Fault:
    size = external.checkpoint.size
    after, before = Mark(agreed), Mark(size)
    restored = await _restored(connection, agreed, size)
    if restored is None:
        words = (
            f"{positions(agreed, size)} are not those of the checkpoint of {size} events in {external.source}: the log "
            "was rewritten"
        )
        return Fault(Kind.REWRITTEN, agreed, size, words, after=after, before=before)
    start, reason = restored
    words = (
        f"{positions(start, size)} were sealed, as the checkpoint of {size} events in {external.source} says, and are "
        f"lost: {reason}, and other events stand there now"
    )
    return Fault(Kind.CUT_OFF, start, size, words, after=Mark(start), before=before)


async def _cut_off(
    connection: Connection, external: ExternalCheckpoint, latest: StoredCheckpoint | None, agreed: int
) -> Fault:
    size, sealed = external.checkpoint.size, 0 if latest is None else latest.size
    after, before = Mark(sealed), Mark(size)
    if await _is_there_unsealed(connection, external.checkpoint, latest):
        words = (
            f"the checkpoint of {size} events in {external.source} is lost here: its events are there, and only "
            f"{sealed} of them are sealed"
        )
        return Fault(Kind.CUT_OFF, sealed, size, words, after=after, before=before)
    restored = await _restored(connection, agreed, sealed + 1)
    source = f"as the checkpoint of {size} events in {external.source} says"
    lost = f"{positions(sealed, size)} were sealed, {source}, and are lost"
    if restored is not None:
        start, reason = restored
        lost += f"; {reason}, so if it was signed before that, {positions(start, size)} are"
        sealed, after = start, Mark(start)
    return Fault(Kind.CUT_OFF, sealed, size, lost, after=after, before=before)


async def _restored(connection: Connection, least: int, below: int) -> tuple[int, str] | None:
    """When the log first continued from an older checkpoint with a size in a range, also in words."""
    for epoch, opened_at, note in await connection.fetch(_EPOCHS):
        try:
            size = Checkpoint.parse(Note.parse(note).text).size
        except NoteFault:
            continue
        if least <= size < below:
            when = opened_at.isoformat(timespec="seconds")
            return (
                size,
                f"epoch {epoch} was opened {when} after the checkpoint of {size} events, as a restored copy does",
            )
    return None


async def _is_there_unsealed(
    connection: Connection, checkpoint: Checkpoint, latest: StoredCheckpoint | None
) -> bool:
    """Whether the events after the newest checkpoint here lead to a larger checkpoint from elsewhere."""
    frontier, place = Frontier(), leaves.BEGINNING
    if latest is not None:
        tree, place = SealedTree(connection, latest.size, latest.place), latest.place
        try:
            hashes = [await tree.subtree(level, number) for level, number in cover(0, latest.size)]
        except LogFault:
            return False
        frontier = Frontier(latest.size, hashes)
    while frontier.size < checkpoint.size:
        rows = await leaves.read_events(connection, place, min(_AT_ONCE, checkpoint.size - frontier.size))
        if not rows:
            return False
        for row in rows:
            frontier.push(leaf_hash(leaf_of(row)))
        place = place_of(rows[-1])
    return frontier.root() == checkpoint.root


def _when(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        return f"{seconds} s after 1970"


PROOF = "proof"
"""A proof that does not lead to its checkpoint."""


@dataclass(frozen=True, slots=True)
class RangeProof:
    """The leaves ``first`` to ``end`` of the log of ``checkpoint``, with their sibling hashes. ``leaf_hashes`` reads
    the hashes of the leaves, if known, on each call."""

    first: int
    end: int
    checkpoint: ExternalCheckpoint
    siblings: tuple[bytes, ...]
    leaf_hashes: Callable[[], Iterator[bytes]] | None = None

    def head(self) -> Head:
        """The root to reach at the end of the range."""
        checkpoint = self.checkpoint.checkpoint
        return Head(self.end, checkpoint.root, checkpoint.size, self.siblings[self.first.bit_count() :])


def verify_lines(lines: Iterable[bytes], kept: Sequence[ExternalCheckpoint]) -> Verdict:
    """Compare all leaves from the first on with checkpoints; one must have exactly their number."""
    ordered = sorted(kept, key=lambda each: each.checkpoint.size)
    heads = [Head(external.checkpoint.size, external.checkpoint.root) for external in ordered]
    reading = _Reading(lines, Follower(), Verdict(0, heads[-1].size))
    for head in heads:
        reading.go_to(head, ())
    return reading.verdict()


def verify_range(lines: Iterable[bytes], proof: RangeProof) -> Verdict:
    """Verify the leaves of a range with its proof. Raises ``ProofFault`` for an invalid proof."""
    start = Frontier(proof.first, proof.siblings[: proof.first.bit_count()])
    verdict, read_hashes = Verdict(proof.first, proof.end), proof.leaf_hashes
    heads = [proof.head()] if read_hashes is None else _heads(proof, start, read_hashes())
    if heads is None:
        size = proof.checkpoint.checkpoint.size
        words = f"the proof does not lead to the checkpoint of {size} events: one of its hashes was changed"
        verdict.add(Fault(PROOF, proof.first, proof.end, words))
        return verdict
    reading = _Reading(lines, Follower(start), verdict)
    hashes = iter(()) if read_hashes is None else read_hashes()
    ahead = list(islice(hashes, _AT_ONCE))
    for head in heads:
        here, ahead = ahead, list(islice(hashes, _AT_ONCE))
        reading.go_to(head, here, ahead)
    return reading.verdict()


def _heads(proof: RangeProof, start: Frontier, hashes: Iterator[bytes]) -> list[Head] | None:
    """Intermediate roots from the hashes of the leaves, if these lead to the signed root."""
    tree, heads = Frontier(start.size, start.hashes()), []
    for each in hashes:
        tree.push(each)
        if (tree.size - proof.first) % _AT_ONCE == 0 and tree.size < proof.end:
            heads.append(Head(tree.size, tree.root()))
    if tree.size != proof.end or not proof.head().is_reached(tree):
        return None
    return [*heads, proof.head()]


class _Reading:
    """Reads lines from root to root and collects faults."""

    def __init__(self, lines: Iterable[bytes], follower: Follower, verdict: Verdict) -> None:
        self._lines, self._follower, self._verdict = iter(lines), follower, verdict
        self._ahead: deque[Entry] = deque()
        self._place: Place = (0, 0, 0)
        self._position = follower.size
        self._odd: list[Finding] = []
        self._mark = Mark(follower.size)

    def go_to(self, head: Head, hashes: Sequence[bytes], following: Sequence[bytes] = ()) -> None:
        """Continue to a root; ``hashes`` are the hashes up to there, ``following`` those after it, if known."""
        while not hashes and head.size - self._follower.size > 4 * _AT_ONCE and self._advance():
            pass
        count = head.size - self._follower.size
        self._read(count)
        entries = [self._ahead.popleft() for _ in range(min(count, len(self._ahead)))]
        if hashes:
            self._share_out(entries, set(hashes), set(following))
        step = self._follower.step(head, entries, hashes)
        self._verdict.checkpoints += 1
        self._verdict.events += len(entries)
        mark = Mark(head.size, entries[-1].text_field("time") if entries else None, False)
        findings = step.findings
        if findings and not step.is_certain:
            findings = [*findings, *self._odd]
        if not hashes and len(entries) < count and findings:
            lost = self._follower.size - count + len(entries)
            words = (
                f"{positions(lost, head.size)}: the file ends before them, or has fewer events before them"
            )
            self._verdict.add(Fault(Kind.CUT_OFF, lost, head.size, words, after=self._mark, before=mark))
        self._verdict.add_findings(findings, self._mark, mark)
        self._mark, self._odd = mark, []

    def verdict(self) -> Verdict:
        """The result, after all roots were visited."""
        more = len(self._ahead) + sum(1 for _ in self._lines)
        if more:
            end = self._verdict.end
            words = f"{more} lines come after position {end - 1}, and nothing says that they were sealed"
            self._verdict.add(Fault(Kind.INSERTED, end, end, words, after=self._mark))
        return self._verdict

    def _advance(self) -> bool:
        self._read(_AT_ONCE)
        entries = list(islice(self._ahead, _AT_ONCE))
        if len(entries) < _AT_ONCE or not self._follower.advance(entries, ()):
            return False
        self._verdict.events += _AT_ONCE
        for _ in entries:
            self._ahead.popleft()
        return True

    def _share_out(self, entries: list[Entry], here: set[bytes], following: set[bytes]) -> None:
        """Decide which lines belong before a root and which after it, by the hashes of both sides."""
        while entries and entries[-1].hash in following:
            self._ahead.appendleft(entries.pop())
        self._read(1)
        while self._ahead and self._ahead[0].hash in here:
            entries.append(self._ahead.popleft())
            self._read(1)

    def _read(self, count: int) -> None:
        for line in islice(self._lines, max(0, count - len(self._ahead))):
            leaf = line.removesuffix(b"\n")
            try:
                entry = Entry.read(leaf)
                kind = Kind.OUT_OF_ORDER if entry.place <= self._place else None
            except LeafFault:
                entry, kind = Entry(self._place, leaf), Kind.CHANGED
            if kind is not None and len(self._odd) < _AT_ONCE:
                self._odd.append(Finding(kind, self._position, self._position + 1, entry))
            self._place = entry.place
            self._ahead.append(entry)
            self._position += 1
