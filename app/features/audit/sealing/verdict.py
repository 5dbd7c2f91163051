"""What came out when a log was held against what was signed of it: each fault in words, and the first bad range.

What a look at the sealed log reads, one after the other: checkpoints, events and kept hashes.
"""

from collections import deque
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any
from uuid import UUID

from asyncpg import Connection, Record

from app.crypto.log_check import Entry, Finding, Kind
from app.features.audit.queries import Position
from app.features.audit.sealing.leaves import TILE, Sealed, leaf_of, read_stretch, split
from app.lib.ids import EVENT, format_id

MOST_TOLD = 1_000
"""Faults that are told one by one; the others are counted."""


_WORDS = {
    Kind.CHANGED: "the event at position {at} was changed after it was sealed: it is {event} now",
    Kind.MISSING: "{what}: what was sealed there is missing",
    Kind.INSERTED: "an event was put in before position {first}, where none was sealed: {event}",
    Kind.OUT_OF_ORDER: "the event of position {at} stands in another place: {event}",
    Kind.UNEXPLAINED: "what is there at {what} does not give the root that was signed: something of it was changed, "
    "removed or put in",
    Kind.HASHES: "the kept hashes of {what} are not those of what was sealed",
    Kind.REWRITTEN: "the events up to position {last} are not those of the checkpoint that was kept elsewhere",
    Kind.CUT_OFF: "{what} were sealed, and are lost",
}
SIGNATURE = "signature"
"""A note that is not signed by one of the keys, or that says something else than is stored beside it."""


CHECKPOINT = "checkpoint"
"""A checkpoint that was signed is not there any more."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in the log that a checkpoint marks: its size, and when it was signed or, where that is not known, of when
    its last event is."""

    size: int
    time: str | None = None
    is_signing: bool = True

    def __str__(self) -> str:
        when = "signed" if self.is_signing else "with a last event of"
        return f"{self.size}" if self.time is None else f"{self.size}, {when} {self.time}"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong, with the positions ``first`` up to, but without, ``end``, and the checkpoints around."""

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
    """The outcome of a look at the positions ``first`` to ``end``. ``unsealed`` events come after them."""

    first: int = 0
    end: int = 0
    events: int = 0
    checkpoints: int = 0
    dropped: int = 0
    notes: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    count: int = 0

    @property
    def is_well(self) -> bool:
        """Whether nothing was found."""
        return not self.count

    def add(self, fault: Fault) -> None:
        """Note a fault."""
        self.count += 1
        if len(self.faults) < MOST_TOLD:
            self.faults.append(fault)

    def add_findings(self, findings: Iterable[Finding], after: Mark, before: Mark) -> None:
        """Note what was found between two marks."""
        for finding in findings:
            self.add(told(finding, after, before))

    def bad_range(self) -> Fault | None:
        """The first of the faults, as long as those that follow it without a gap."""
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
        """Everything, for programs."""
        bad = self.bad_range()
        return {
            "ok": self.is_well,
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
        """Everything, for people; the last line is the sum of it."""
        lines = [f"note   {note}" for note in self.notes]
        lines += [f"FAULT  {fault.words}" for fault in self.faults]
        if self.count > len(self.faults):
            lines.append(f"FAULT  and {self.count - len(self.faults)} more")
        bad = self.bad_range()
        if bad is not None:
            lines.append(f"first bad range: {_around(bad)}")
        extent = "no events are sealed" if self.first == self.end else f"{positions(self.first, self.end)}"
        gone = f", {self.dropped} of them past the retention and dropped" if self.dropped else ""
        sums = f"{self.events} events, {self.checkpoints} checkpoints"
        if self.is_well:
            lines.append(f"The log is what was sealed: {extent}{gone} ({sums}).")
        else:
            many = f"{self.count} faults" if self.count > 1 else "1 fault"
            lines.append(f"The log is NOT what was sealed: {many} at {extent}{gone} ({sums}).")
        return lines


def told(finding: Finding, after: Mark | None, before: Mark | None) -> Fault:
    """A finding in words."""
    entry = finding.entry
    id = None if entry is None else _event_id(entry)
    time = None if entry is None else entry.told("time")
    event = f"{id or 'one that cannot be read'}{f' of {time}' if time else ''}"
    what = positions(finding.first, finding.end)
    words = _WORDS[finding.kind].format(
        at=finding.first, first=finding.first, last=finding.end - 1, event=event, what=what
    )
    return Fault(finding.kind, finding.first, finding.end, words, id, time, after, before)


def positions(first: int, end: int) -> str:
    """A range in words."""
    if end - first == 1:
        return f"position {first}"
    return f"positions {first} to {end - 1}"


def _event_id(entry: Entry) -> str | None:
    said = entry.told("id")
    try:
        return None if said is None else format_id(EVENT, UUID(said))
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


_EVENTS_AT_ONCE = 4_096
_CHECKPOINTS_AT_ONCE = 1_000
_TILES_AT_ONCE = 64
_CHECKPOINTS = """
SELECT tree_size, epoch, last_xact, last_seq, root_hash, note, created_at FROM audit_checkpoints
WHERE tree_size > $1 AND tree_size <= $2 ORDER BY tree_size LIMIT $3
"""
_LEAVES = """
SELECT number, hashes FROM audit_tiles WHERE level = 0 AND number >= $1 AND number < $2 ORDER BY number
"""
_TILE = "SELECT hashes FROM audit_tiles WHERE level = $1 AND number = $2"


async def checkpoints(connection: "Connection[Record]", after: int, until: int) -> AsyncIterator[Sealed]:
    """The checkpoints of more than ``after`` events up to those of ``until``, by size."""
    while after < until:
        rows = await connection.fetch(_CHECKPOINTS, after, until, _CHECKPOINTS_AT_ONCE)
        if not rows:
            return
        for size, epoch, xact, seq, root, note, at in rows:
            yield Sealed(size, (epoch, xact, seq), root, note, at)
        after = rows[-1]["tree_size"]


class Entries:
    """The events after a place up to another, as they are in the database now."""

    def __init__(self, connection: "Connection[Record]", after: Position, until: Position | None) -> None:
        self._connection = connection
        self._after = after
        self._until = until
        self._ahead: deque[Entry] = deque()
        self._is_over = False

    async def up_to(self, place: Position | None, most: int | None = None) -> list[Entry]:
        """The next events, no more than so many, none later than a place. They stay ahead."""
        while not self._is_over and (most is None or len(self._ahead) < most):
            if place is not None and self._ahead and self._ahead[-1].place > place:
                break
            await self._read()
        found = (entry for entry in self._ahead if place is None or entry.place <= place)
        return list(islice(found, most))

    def pass_by(self, count: int) -> None:
        """Go on by so many events."""
        for _ in range(count):
            self._ahead.popleft()

    async def _read(self) -> None:
        stretch = await read_stretch(self._connection, self._after, _EVENTS_AT_ONCE, self._until)
        if not stretch.rows:
            self._is_over = True
            return
        self._ahead.extend(
            Entry((stretch.epoch, row["xact"], row["seq"]), leaf_of(row)) for row in stretch.rows
        )
        self._after = stretch.end


class KeptHashes:
    """The hashes of leaves that were kept in tiles, of a tree of ``size`` leaves."""

    def __init__(self, connection: "Connection[Record]", size: int) -> None:
        self._connection = connection
        self._full = size // TILE
        self._tiles: dict[int, bytes] = {}
        self._read_to = 0
        self._missing: list[int] = []

    async def of(self, first: int, end: int) -> list[bytes]:
        """Those from one position up to, but without, another; fewer, if a tile is missing or not full yet."""
        found: list[bytes] = []
        self._tiles = {number: tile for number, tile in self._tiles.items() if number >= first // TILE}
        for number in range(first // TILE, min(-(-end // TILE), self._full)):
            tile = await self._tile(number)
            if tile is None:
                break
            hashes = split(tile)
            found += hashes[max(0, first - number * TILE) : end - number * TILE]
        return found

    async def stored(self, level: int, number: int) -> bytes | None:
        """A tile as it is stored."""
        stored: bytes | None = await self._connection.fetchval(_TILE, level, number)
        return stored

    def take_missing(self) -> list[int]:
        """The tiles that were found missing, each once."""
        missing, self._missing = self._missing, []
        return missing

    async def _tile(self, number: int) -> bytes | None:
        if number >= self._read_to:
            to = min(number + _TILES_AT_ONCE, self._full)
            rows = await self._connection.fetch(_LEAVES, number, to)
            self._tiles |= {row["number"]: row["hashes"] for row in rows}
            self._missing += [tile for tile in range(number, to) if tile not in self._tiles]
            self._read_to = to
        return self._tiles.get(number)
