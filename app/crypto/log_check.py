"""What is wrong with a log, told by the roots that were signed of it.

Three things say what a log holds: its entries, the hashes that were kept of them when they were sealed, and signed
roots. Nobody can make up what leads to a given root; so whatever does is what was sealed, and everything is compared
with that.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import combinations
from typing import Any

from app.domain.merkle import HASH_BYTES, Frontier, leaf_hash
from app.lib import json_depth

Place = tuple[int, int, int]
"""Where an entry stands in the order of the log: epoch, transaction, number."""
_PLACE_KEYS = ("epoch", "xact", "seq")
# Guesses cost hashes, and serve to say more exactly what was found out already.
_MAX_LEFT_OUT = 512
_MAX_EXCHANGED = 64


class LeafFault(ValueError):
    """A text is no leaf of an audit log. The message says why, for people."""


class Entry:
    """An entry as it is found: its place, its leaf (one line of JSON, without the end of it), and the leaf's hash."""

    __slots__ = ("hash", "leaf", "place")

    def __init__(self, place: Place, leaf: bytes) -> None:
        self.place, self.leaf, self.hash = place, leaf, leaf_hash(leaf)

    @classmethod
    def read(cls, leaf: bytes) -> "Entry":
        """An entry whose leaf says where it stands. Raises ``LeafFault``."""
        fields = parse_leaf(leaf)
        epoch, xact, seq = (fields.get(key) for key in _PLACE_KEYS)
        if not (type(epoch) is type(xact) is type(seq) is int):
            raise LeafFault("it has no epoch, xact and seq, which say where it stands")
        return cls((epoch, xact, seq), leaf)

    def text_field(self, key: str) -> str | None:
        """What it says of itself, as its id and its time, if it says that."""
        try:
            fields = parse_leaf(self.leaf).get(key)
        except LeafFault:
            return None
        return fields if isinstance(fields, str) else None

    def hash_at(self, place: Place) -> bytes:
        """The hash that it would have if it stood elsewhere."""
        leaf = self.leaf
        for key, value in zip(_PLACE_KEYS, place, strict=True):
            # The last of them is the entry's own: `changes` comes before it, and no text holds a bare quotation mark.
            before, marker, after = leaf.rpartition(f',"{key}":'.encode())
            if marker:
                leaf = before + marker + str(value).encode() + after.lstrip(b"0123456789")
        return leaf_hash(leaf)


def parse_leaf(leaf: bytes) -> dict[str, Any]:
    """What a leaf says. Raises ``LeafFault``."""
    try:
        fields = json_depth.loads(leaf)
    except ValueError:
        raise LeafFault("it is no JSON") from None
    if not isinstance(fields, dict):
        raise LeafFault("it is no JSON object")
    return fields


@dataclass(frozen=True, slots=True)
class Head:
    """A signed root (32 bytes) over the first ``size`` entries; or over the first ``of``, the ``beyond`` among them,
    which are as in ``Frontier.root_with``."""

    size: int
    root: bytes
    of: int | None = None
    beyond: tuple[bytes, ...] = ()

    def is_reached(self, tree: Frontier) -> bool:
        """Whether a tree of ``size`` entries has this root. Raises ``ProofFault``."""
        return (tree.root() if self.of is None else tree.root_with(self.of, self.beyond)) == self.root


class Kind(StrEnum):
    """What may be wrong."""

    CHANGED = "changed"
    """An entry does not say what was sealed."""
    MISSING = "missing"
    """An entry that was sealed is not there."""
    INSERTED = "inserted"
    """An entry stands where none was sealed."""
    OUT_OF_ORDER = "out_of_order"
    """An entry that was sealed stands elsewhere."""
    UNEXPLAINED = "unexplained"
    """Nothing that is there gives the root, and nothing tells which part of it is wrong."""
    HASHES = "hashes"
    """The kept hashes are not those of what was sealed."""
    REWRITTEN = "rewritten"
    """It is another log than the one of which a root was kept elsewhere."""
    CUT_OFF = "cut_off"
    """A root was signed of more than there is."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, at the positions ``first`` up to, but without, ``end``. Nothing is between these if
    something was inserted: it stands before ``first``. ``entry`` is the one concerned, if it is one that is there."""

    kind: Kind
    first: int
    end: int
    entry: Entry | None = None


@dataclass(slots=True)
class Step:
    """What is wrong up to a root, and the hashes that were sealed; guessed ones, if it ``is_certain`` of nothing.
    ``foreign`` are roots from elsewhere that are of another log."""

    findings: list[Finding] = field(default_factory=list)
    sealed: Sequence[bytes] = ()
    foreign: list[Head] = field(default_factory=list)
    is_certain: bool = True


class Follower:
    """Goes from root to root, starting from a tree that is known to be right.

    Once nothing gives a root, there is nothing to start from: entries are still compared with the kept hashes, but
    roots that follow are not judged. ``is_lost`` says so.
    """

    def __init__(self, frontier: Frontier | None = None) -> None:
        self._frontier = Frontier() if frontier is None else frontier
        self._sure = self._frontier.size
        self.is_lost = False

    @property
    def size(self) -> int:
        """How many entries it has gone through."""
        return self._frontier.size

    def advance(self, entries: Sequence[Entry], kept: Sequence[bytes]) -> bool:
        """Go on over entries without a root at their end, unless the kept hashes are at odds with them; whether it
        did. The next root judges them with what leads up to it."""
        found = [entry.hash for entry in entries]
        if self.is_lost or list(kept[: len(found)]) != found[: len(kept)]:
            return False
        self._frontier = _grown(self._frontier, found)
        return True

    def step(
        self, head: Head, entries: Sequence[Entry], kept: Sequence[bytes], elsewhere: Sequence[Head] = ()
    ) -> Step:
        """Go on to a root that is no smaller.

        ``entries`` are those between the last root and this one, in the order in which they are found; ``kept`` are
        the hashes that were kept from the last root on, which may end before this root. ``elsewhere`` are roots
        between the two that were kept elsewhere: other logs than this one are found by them.
        """
        first, count = self.size, head.size - self.size
        kept = kept[:count]
        for sealed in () if self.is_lost else _candidates(entries, kept, count):
            grown = _grown(self._frontier, sealed)
            if head.is_reached(grown):
                step = Step(_differences(first, sealed, entries) + _stale(first, sealed, kept), sealed)
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
    """What may have been sealed at so many positions, the likeliest first."""
    found = [entry.hash for entry in entries]
    if len(found) == count:
        yield found
    if len(kept) == count:
        yield kept
        return
    # Nothing was kept of the last ones yet, so that only the entries tell of them.
    open_end = count - len(kept)
    if kept and open_end <= len(found):
        yield [*kept, *found[-open_end:]]
    if len(found) == count:
        yield [entry.hash for entry in sorted(entries, key=lambda entry: entry.place)]
        if count <= _MAX_EXCHANGED:
            yield from _exchanges(entries)
    if len(found) == count + 1 and count <= _MAX_LEFT_OUT:
        for left_out in range(len(found)):
            yield found[:left_out] + found[left_out + 1 :]


def _exchanges(entries: Sequence[Entry]) -> Iterator[Sequence[bytes]]:
    """The entries' hashes as they would be if two of them had each other's place."""
    found = [entry.hash for entry in entries]
    for (at, one), (to, other) in combinations(enumerate(entries), 2):
        before = found.copy()
        before[to], before[at] = one.hash_at(other.place), other.hash_at(one.place)
        yield before


def _grown(frontier: Frontier, hashes: Iterable[bytes]) -> Frontier:
    grown = Frontier(frontier.size, frontier.hashes())
    for each in hashes:
        grown.push(each)
    return grown


def _stale(first: int, sealed: Sequence[bytes], kept: Sequence[bytes]) -> list[Finding]:
    wrong = (first + at for at, each in enumerate(kept) if sealed[at] != each)
    return [Finding(Kind.HASHES, *stretch) for stretch in _stretches(wrong)]


def _differences(first: int, sealed: Sequence[bytes], entries: Sequence[Entry]) -> list[Finding]:
    """What was done to what was sealed, by position; what is missing in one go is one finding."""
    if list(sealed) == [entry.hash for entry in entries]:
        return []
    found = _exchanged(first, sealed, list(_compared(first, sealed, entries)))
    missing = (finding.first for finding in found if finding.kind is Kind.MISSING)
    others = [finding for finding in found if finding.kind is not Kind.MISSING]
    others += [Finding(Kind.MISSING, *stretch) for stretch in _stretches(missing)]
    return sorted(others, key=lambda finding: (finding.first, finding.end))


def _compared(first: int, sealed: Sequence[bytes], entries: Sequence[Entry]) -> Iterator[Finding]:
    """What stays in order is what most entries agree about; between that lies what is wrong."""
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
    """The most pairs, in their order, whose second numbers rise."""
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
    """The findings, those told apart that are entries which only have each other's place: that is in the leaf."""
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
    """Neighbouring positions, which rise, as stretches."""
    start = end = None
    for position in positions:
        if position != end:
            if start is not None and end is not None:
                yield start, end
            start = position
        end = position + 1
    if start is not None and end is not None:
        yield start, end
