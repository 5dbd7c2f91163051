"""Detection of changes to an audit log by its signed roots.

Three sources describe a log: its entries, the hashes that were stored when they were sealed, and signed roots. Entries
that lead to a signed root cannot be forged. So those that do are what was sealed, and everything else is compared with
them.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import combinations
from typing import Any

from app.domain.merkle import HASH_BYTES, Frontier, leaf_hash
from app.lib import strict_json

Place = tuple[int, int, int]
"""The position of an entry in the order of the log: epoch, transaction, number."""
_PLACE_KEYS = ("epoch", "xact", "seq")
# Guesses cost hashes and only make a finding more precise.
_MAX_LEFT_OUT = 512
_MAX_EXCHANGED = 64


class LeafFault(ValueError):
    """A text is not a leaf of an audit log. The message says why."""


class Entry:
    """A stored entry: its place, its leaf (one line of JSON, without the line end), and the leaf's hash."""

    __slots__ = ("hash", "leaf", "place")

    def __init__(self, place: Place, leaf: bytes) -> None:
        self.place, self.leaf, self.hash = place, leaf, leaf_hash(leaf)

    @classmethod
    def read(cls, leaf: bytes) -> "Entry":
        """Read an entry whose leaf contains its place. Raises ``LeafFault``."""
        fields = parse_leaf(leaf)
        epoch, xact, seq = (fields.get(key) for key in _PLACE_KEYS)
        if not (type(epoch) is type(xact) is type(seq) is int):
            raise LeafFault("it lacks epoch, xact and seq, which give its position")
        return cls((epoch, xact, seq), leaf)

    def text_field(self, key: str) -> str | None:
        """A text field of the leaf, such as its id or time, if it has it."""
        try:
            fields = parse_leaf(self.leaf).get(key)
        except LeafFault:
            return None
        return fields if isinstance(fields, str) else None

    def hash_at(self, place: Place) -> bytes:
        """The hash that the entry would have at another place."""
        leaf = self.leaf
        for key, value in zip(_PLACE_KEYS, place, strict=True):
            # The last match is the entry's own: `changes` comes before it, and texts contain no bare quotation mark.
            before, marker, after = leaf.rpartition(f',"{key}":'.encode())
            if marker:
                leaf = before + marker + str(value).encode() + after.lstrip(b"0123456789")
        return leaf_hash(leaf)


def parse_leaf(leaf: bytes) -> dict[str, Any]:
    """Parse a leaf. Raises ``LeafFault``."""
    try:
        fields = strict_json.loads_plain(leaf)
    except ValueError:
        raise LeafFault("it is not JSON") from None
    if not isinstance(fields, dict):
        raise LeafFault("it is not a JSON object")
    return fields


@dataclass(frozen=True, slots=True)
class Head:
    """A signed root (32 bytes) over the first ``size`` entries, or over the first ``of`` entries including ``beyond``,
    as in ``Frontier.root_with``."""

    size: int
    root: bytes
    of: int | None = None
    beyond: tuple[bytes, ...] = ()

    def is_reached(self, tree: Frontier) -> bool:
        """Whether a tree of ``size`` entries has this root. Raises ``ProofFault``."""
        return (tree.root() if self.of is None else tree.root_with(self.of, self.beyond)) == self.root


class Kind(StrEnum):
    """The kinds of faults."""

    CHANGED = "changed"
    """An entry differs from the sealed one."""
    MISSING = "missing"
    """A sealed entry does not exist."""
    INSERTED = "inserted"
    """An entry exists that was never sealed."""
    OUT_OF_ORDER = "out_of_order"
    """A sealed entry has another position."""
    UNEXPLAINED = "unexplained"
    """No combination of the available data gives the root, so the wrong part is unknown."""
    HASHES = "hashes"
    """The stored hashes differ from those of the sealed entries."""
    REWRITTEN = "rewritten"
    """The log is not the one of which a root was stored elsewhere."""
    CUT_OFF = "cut_off"
    """The log has fewer entries than a root was signed for."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault at the positions from ``first`` up to, but not including, ``end``.

    For an insertion both are equal: it is before ``first``. ``entry`` is the existing entry concerned, if any.
    """

    kind: Kind
    first: int
    end: int
    entry: Entry | None = None


@dataclass(slots=True)
class Step:
    """The faults up to a root, and the sealed hashes, which are guesses unless ``is_certain``. ``foreign`` are roots
    from elsewhere that belong to another log."""

    findings: list[Finding] = field(default_factory=list)
    sealed: Sequence[bytes] = ()
    foreign: list[Head] = field(default_factory=list)
    is_certain: bool = True


class Follower:
    """Checks a log from root to root, starting from a tree that is known to be correct.

    After a root that nothing explains (``is_lost``), entries are still compared with the stored hashes, but later roots
    are not checked.
    """

    def __init__(self, frontier: Frontier | None = None) -> None:
        self._frontier = Frontier() if frontier is None else frontier
        self._sure = self._frontier.size
        self.is_lost = False

    @property
    def size(self) -> int:
        """The number of entries checked so far."""
        return self._frontier.size

    def advance(self, entries: Sequence[Entry], kept: Sequence[bytes]) -> bool:
        """Advance over entries without a root at their end, which the next root covers. Returns False, without
        advancing, if they differ from the stored hashes."""
        hashes = [entry.hash for entry in entries]
        if self.is_lost or list(kept[: len(hashes)]) != hashes[: len(kept)]:
            return False
        self._frontier = _grown(self._frontier, hashes)
        return True

    def step(
        self, head: Head, entries: Sequence[Entry], kept: Sequence[bytes], elsewhere: Sequence[Head] = ()
    ) -> Step:
        """Advance to a root of at least the present size.

        ``entries`` are those between the last root and this one, in stored order. ``kept`` are the stored hashes from
        the last root on, which can end before this root. ``elsewhere`` are roots in between that were stored elsewhere,
        which reveal another log.
        """
        first, count = self.size, head.size - self.size
        kept = kept[:count]
        for sealed in () if self.is_lost else _candidates(entries, kept, count):
            grown = _grown(self._frontier, sealed)
            if head.is_reached(grown):
                step = Step(_differences(first, sealed, entries), sealed)
                stale = (first + at for at, each in enumerate(kept) if sealed[at] != each)
                step.findings += [Finding(Kind.HASHES, *stretch) for stretch in _stretches(stale)]
                step.foreign += [
                    other
                    for other in elsewhere
                    if not other.is_reached(_grown(self._frontier, sealed[: other.size - first]))
                ]
                self._frontier, self._sure = grown, head.size
                return step
        guessed = [*kept, *(entry.hash for entry in entries[len(kept) :])][:count]
        guessed += [bytes(HASH_BYTES)] * (count - len(guessed))
        self._frontier = _grown(self._frontier, guessed)
        step = Step(sealed=guessed, is_certain=False)
        if not self.is_lost:
            step.findings.append(Finding(Kind.UNEXPLAINED, self._sure, head.size))
        if len(kept) == count:
            step.findings += _differences(first, kept, entries)
        self.is_lost = True
        return step


def _candidates(entries: Sequence[Entry], kept: Sequence[bytes], count: int) -> Iterator[Sequence[bytes]]:
    """Possible sealed hashes for this many positions, the likeliest first."""
    hashes = [entry.hash for entry in entries]
    if len(hashes) == count:
        yield hashes
    if len(kept) == count:
        yield kept
        return
    # The last hashes are not stored yet, so only the entries give them.
    open_end = count - len(kept)
    if kept and open_end <= len(hashes):
        yield [*kept, *hashes[-open_end:]]
    if len(hashes) == count:
        yield [entry.hash for entry in sorted(entries, key=lambda entry: entry.place)]
        if count <= _MAX_EXCHANGED:
            yield from _exchanges(entries)
    if len(hashes) == count + 1 and count <= _MAX_LEFT_OUT:
        for left_out in range(len(hashes)):
            yield hashes[:left_out] + hashes[left_out + 1 :]


def _exchanges(entries: Sequence[Entry]) -> Iterator[Sequence[bytes]]:
    """The entries' hashes with each pair of entries exchanged in turn."""
    hashes = [entry.hash for entry in entries]
    for (at, one), (to, other) in combinations(enumerate(entries), 2):
        before = hashes.copy()
        before[to], before[at] = one.hash_at(other.place), other.hash_at(one.place)
        yield before


def _grown(frontier: Frontier, hashes: Iterable[bytes]) -> Frontier:
    grown = Frontier(frontier.size, frontier.hashes())
    for each in hashes:
        grown.push(each)
    return grown


def _differences(first: int, sealed: Sequence[bytes], entries: Sequence[Entry]) -> list[Finding]:
    """The differences from the sealed entries by position. Consecutive missing entries are one finding."""
    if list(sealed) == [entry.hash for entry in entries]:
        return []
    findings = _exchanged(first, sealed, list(_compared(first, sealed, entries)))
    missing = (finding.first for finding in findings if finding.kind is Kind.MISSING)
    others = [finding for finding in findings if finding.kind is not Kind.MISSING]
    others += [Finding(Kind.MISSING, *stretch) for stretch in _stretches(missing)]
    return sorted(others, key=lambda finding: (finding.first, finding.end))


def _compared(first: int, sealed: Sequence[bytes], entries: Sequence[Entry]) -> Iterator[Finding]:
    """Yield the faults between the entries of the longest sequence in sealed order."""
    positions = {each: at for at, each in enumerate(sealed)}
    known = [(index, positions.pop(entry.hash, None)) for index, entry in enumerate(entries)]
    staying = _longest_rise([(index, at) for index, at in known if at is not None])
    moved = {at for _, at in known if at is not None} - {at for _, at in staying}
    ends = [*staying, (len(entries), len(sealed))]
    index, position = 0, 0
    for next_index, next_position in ends:
        strangers = []
        for at in range(index, next_index):
            if known[at][1] is None:
                strangers.append(entries[at])
            else:
                place = first + (known[at][1] or 0)
                yield Finding(Kind.OUT_OF_ORDER, place, place + 1, entries[at])
        gaps = [at for at in range(position, next_position) if at not in moved]
        for at, entry in zip(gaps, strangers, strict=False):
            yield Finding(Kind.CHANGED, first + at, first + at + 1, entry)
        for at in gaps[len(strangers) :]:
            yield Finding(Kind.MISSING, first + at, first + at + 1)
        for entry in strangers[len(gaps) :]:
            yield Finding(Kind.INSERTED, first + next_position, first + next_position, entry)
        index, position = next_index + 1, next_position + 1


def _longest_rise(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The longest subsequence of pairs whose second numbers increase."""
    ends: list[int] = []
    holders: list[int] = []
    before: list[int] = []
    for number, (_, at) in enumerate(pairs):
        length = bisect_left(ends, at)
        before.append(holders[length - 1] if length else -1)
        ends[length : length + 1] = [at]
        holders[length : length + 1] = [number]
    rise: list[tuple[int, int]] = []
    number = holders[-1] if holders else -1
    while number >= 0:
        rise.append(pairs[number])
        number = before[number]
    return rise[::-1]


def _exchanged(first: int, sealed: Sequence[bytes], findings: list[Finding]) -> list[Finding]:
    """The findings, with entries that only exchanged places as ``OUT_OF_ORDER``: their leaves contain the place."""
    changed = [(at, finding) for at, finding in enumerate(findings) if finding.kind is Kind.CHANGED]
    if len(changed) > _MAX_EXCHANGED:
        return findings
    for at, finding in changed:
        for _, other in changed:
            if finding.entry is None or other.entry is None or other is finding:
                continue
            if finding.entry.hash_at(other.entry.place) == sealed[other.first - first]:
                findings[at] = Finding(Kind.OUT_OF_ORDER, other.first, other.end, finding.entry)
    return findings


def _stretches(positions: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Group consecutive positions, which increase, into ranges."""
    start = end = None
    for position in positions:
        if position != end:
            if start is not None and end is not None:
                yield start, end
            start = position
        end = position + 1
    if start is not None and end is not None:
        yield start, end
