"""Checkpoints that were kept elsewhere: they tell whether the log is still the one that they were signed for.

Exported leaves held against checkpoints, without a database: the whole log from its beginning, or a range of it.

A range needs its proof: the hashes beside it that lead to a checkpoint's root. That may also hold the hashes of its
leaves, which are worth nothing before they have led to that root, and then tell which line is wrong.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

from asyncpg import Connection, Record

from app.crypto.log_check import Entry, Finding, Follower, Head, Kind, LeafFault, Place
from app.crypto.signed_notes import Checkpoint, Note, NoteFault, Signed
from app.domain.merkle import EMPTY_ROOT, Frontier, cover, leaf_hash
from app.features.audit.sealing.leaves import BEGINNING, LogFault, Sealed, SealedTree, leaf_of, read_stretch
from app.features.audit.sealing.verdict import Fault, Mark, Verdict, positions

_EPOCHS = "SELECT epoch, opened_at, last_checkpoint FROM log_epochs WHERE last_checkpoint IS NOT NULL ORDER BY epoch"
_AT_ONCE = 4_096


@dataclass(frozen=True, slots=True)
class Kept:
    """A checkpoint from elsewhere, whose signature was checked, and what it is called."""

    source: str
    checkpoint: Checkpoint
    signed: tuple[Signed, ...] = ()

    @property
    def witnessed(self) -> str:
        """By whom, in words that follow its name."""
        witnesses = [each for each in self.signed if each.at is not None]
        named = ", ".join(f"{each.key.name} at {_when(each.at or 0)}" for each in witnesses)
        return f", witnessed by {named}," if named else ""


async def hold_against(
    connection: "Connection[Record]",
    verdict: Verdict,
    kept: Sequence[Kept],
    latest: Sealed | None,
    reached: Mapping[Kept, bool],
) -> None:
    """Say of each kept checkpoint whether the log is the one that it was signed for. ``reached``: of those no larger
    than the log, whether it has their roots, as far as that could be told."""
    sealed, agreed = 0 if latest is None else latest.size, 0
    for one in sorted(kept, key=lambda one: one.checkpoint.size):
        size = one.checkpoint.size
        named = f"the checkpoint of {size} events in {one.source}{one.witnessed}"
        agrees = one.checkpoint.root == EMPTY_ROOT if size == 0 else reached.get(one)
        if size > sealed:
            verdict.add(await _cut_off(connection, one, latest, agreed))
        elif agrees is None:
            verdict.notes.append(
                f"{named} cannot be held against a log that is not what was sealed before it"
            )
        elif agrees:
            agreed = size
            verdict.notes.append(f"{named} is of this log")
        else:
            verdict.add(await _rewritten(connection, one, agreed))


async def _rewritten(connection: "Connection[Record]", one: Kept, agreed: int) -> Fault:
    size = one.checkpoint.size
    after, before = Mark(agreed), Mark(size)
    restored = await _restored(connection, agreed, size)
    if restored is None:
        words = (
            f"{positions(agreed, size)} are not those of the checkpoint of {size} events in {one.source}: the log was "
            "written anew"
        )
        return Fault(Kind.REWRITTEN, agreed, size, words, after=after, before=before)
    start, said = restored
    words = (
        f"{positions(start, size)} were sealed, as the checkpoint of {size} events in {one.source} says, and are lost: "
        f"{said}, and other events stand there now"
    )
    return Fault(Kind.CUT_OFF, start, size, words, after=Mark(start), before=before)


async def _cut_off(connection: "Connection[Record]", one: Kept, latest: Sealed | None, agreed: int) -> Fault:
    size, sealed = one.checkpoint.size, 0 if latest is None else latest.size
    after, before = Mark(sealed), Mark(size)
    if await _is_there_unsealed(connection, one.checkpoint, latest):
        words = (
            f"the checkpoint of {size} events in {one.source} is lost here: its events are there, and only "
            f"{sealed} of them are sealed"
        )
        return Fault(Kind.CUT_OFF, sealed, size, words, after=after, before=before)
    restored = await _restored(connection, agreed, sealed + 1)
    said_so = f"as the checkpoint of {size} events in {one.source} says"
    lost = f"{positions(sealed, size)} were sealed, {said_so}, and are lost"
    if restored is not None:
        start, said = restored
        lost += f"; {said}, so if it was signed before that, {positions(start, size)} are"
        sealed, after = start, Mark(start)
    return Fault(Kind.CUT_OFF, sealed, size, lost, after=after, before=before)


async def _restored(connection: "Connection[Record]", least: int, below: int) -> tuple[int, str] | None:
    """The first time that the log went on from an older checkpoint of a size in a range, and that in words."""
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
    connection: "Connection[Record]", checkpoint: Checkpoint, latest: Sealed | None
) -> bool:
    """Whether what follows the newest checkpoint here leads to a larger one."""
    frontier, place = Frontier(), BEGINNING
    if latest is not None:
        tree, place = SealedTree(connection, latest.size, latest.place), latest.place
        try:
            hashes = [await tree.subtree(level, number) for level, number in cover(0, latest.size)]
        except LogFault:
            return False
        frontier = Frontier(latest.size, hashes)
    while frontier.size < checkpoint.size:
        stretch = await read_stretch(connection, place, min(_AT_ONCE, checkpoint.size - frontier.size))
        if not stretch.rows:
            return False
        for row in stretch.rows:
            frontier.push(leaf_hash(leaf_of(row)))
        place = stretch.end
    return frontier.root() == checkpoint.root


def _when(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        return f"{seconds} s after 1970"


AT_ONCE = 4_096
PROOF = "proof"
"""A proof that does not lead to its checkpoint."""


@dataclass(frozen=True, slots=True)
class RangeProof:
    """The leaves ``first`` to ``end`` of the log of ``checkpoint``, with the hashes beside them. ``leaf_hashes`` reads
    those of the leaves, each time anew, if there are any."""

    first: int
    end: int
    checkpoint: Kept
    beside: tuple[bytes, ...]
    leaf_hashes: Callable[[], Iterator[bytes]] | None = None

    def start(self) -> Frontier:
        """The tree before the range. Raises ``ProofFault``."""
        return Frontier(self.first, self.beside[: self.first.bit_count()])

    def head(self) -> Head:
        """The root, to be reached at the end of the range."""
        said = self.checkpoint.checkpoint
        return Head(self.end, said.root, said.size, self.beside[self.first.bit_count() :])


def verify_lines(lines: Iterable[bytes], kept: Sequence[Kept]) -> Verdict:
    """Hold all leaves from the first on against checkpoints; there has to be one of just so many."""
    ordered = sorted(kept, key=lambda one: one.checkpoint.size)
    heads = [Head(one.checkpoint.size, one.checkpoint.root) for one in ordered]
    reading = _Reading(lines, Follower(), Verdict(0, heads[-1].size))
    for head in heads:
        reading.go_to(head, ())
    return reading.verdict()


def verify_range(lines: Iterable[bytes], proof: RangeProof) -> Verdict:
    """Hold the leaves of a range against its proof. Raises ``ProofFault`` for a proof that is none."""
    start, verdict = proof.start(), Verdict(proof.first, proof.end)
    if proof.leaf_hashes is None:
        reading = _Reading(lines, Follower(start), verdict)
        reading.go_to(proof.head(), ())
        return reading.verdict()
    heads = _heads(proof, start)
    if heads is None:
        said = proof.checkpoint.checkpoint.size
        words = f"the proof does not lead to the checkpoint of {said} events: one of its hashes was changed"
        verdict.add(Fault(PROOF, proof.first, proof.end, words))
        return verdict
    reading, hashes = _Reading(lines, Follower(start), verdict), proof.leaf_hashes()
    ahead = list(islice(hashes, AT_ONCE))
    for head in heads:
        here, ahead = ahead, list(islice(hashes, AT_ONCE))
        reading.go_to(head, here, ahead)
    return reading.verdict()


def _heads(proof: RangeProof, start: Frontier) -> list[Head] | None:
    """Roots along the hashes of the leaves, if they lead to the one that was signed."""
    if proof.leaf_hashes is None:
        return None
    tree, heads = Frontier(start.size, start.hashes()), []
    for each in proof.leaf_hashes():
        tree.push(each)
        if (tree.size - proof.first) % AT_ONCE == 0 and tree.size < proof.end:
            heads.append(Head(tree.size, tree.root()))
    if tree.size != proof.end or not proof.head().is_reached(tree):
        return None
    return [*heads, proof.head()]


class _Reading:
    """Lines that are gone through from root to root, with what strikes one in them by the way."""

    def __init__(self, lines: Iterable[bytes], follower: Follower, verdict: Verdict) -> None:
        self._lines = iter(lines)
        self._follower = follower
        self._verdict = verdict
        self._ahead: deque[Entry] = deque()
        self._place: Place = (0, 0, 0)
        self._position = follower.size
        self._odd: list[Finding] = []
        self._mark = Mark(follower.size)

    def go_to(self, head: Head, kept: Sequence[bytes], following: Sequence[bytes] = ()) -> None:
        """Go on to a root; ``kept`` are the hashes up to there, ``following`` those after it, where they are known."""
        while not kept and head.size - self._follower.size > 4 * AT_ONCE and self._glide():
            pass
        count = head.size - self._follower.size
        self._read(count)
        entries = [self._ahead.popleft() for _ in range(min(count, len(self._ahead)))]
        if kept:
            self._share_out(entries, set(kept), set(following))
        step = self._follower.step(head, entries, kept)
        self._verdict.checkpoints += 1
        self._verdict.events += len(entries)
        mark = Mark(head.size, entries[-1].told("time") if entries else None, False)
        findings = step.findings
        if findings and not step.is_certain:
            findings = [*findings, *self._odd]
        if not kept and len(entries) < count and findings:
            lost = self._follower.size - count + len(entries)
            words = (
                f"{positions(lost, head.size)}: the file ends before them, or has fewer events before them"
            )
            self._verdict.add(Fault(Kind.CUT_OFF, lost, head.size, words, after=self._mark, before=mark))
        self._verdict.add_findings(findings, self._mark, mark)
        self._mark, self._odd = mark, []

    def verdict(self) -> Verdict:
        """What came out, once all roots were gone to."""
        more = len(self._ahead) + sum(1 for _ in self._lines)
        if more:
            end = self._verdict.end
            words = f"{more} lines come after position {end - 1}, and nothing says that they were sealed"
            self._verdict.add(Fault(Kind.INSERTED, end, end, words, after=self._mark))
        return self._verdict

    def _glide(self) -> bool:
        self._read(AT_ONCE)
        entries = list(islice(self._ahead, AT_ONCE))
        if len(entries) < AT_ONCE or not self._follower.glide(entries, ()):
            return False
        self._verdict.events += AT_ONCE
        for _ in entries:
            self._ahead.popleft()
        return True

    def _share_out(self, entries: list[Entry], here: set[bytes], following: set[bytes]) -> None:
        """Which lines belong before a root and which after it, by the hashes of both sides."""
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
            except LeafFault:
                entry = Entry(self._place, leaf)
                self._strange(Kind.CHANGED, entry)
            else:
                if entry.place <= self._place:
                    self._strange(Kind.OUT_OF_ORDER, entry)
                self._place = entry.place
            self._ahead.append(entry)
            self._position += 1

    def _strange(self, kind: Kind, entry: Entry) -> None:
        if len(self._odd) < AT_ONCE:
            self._odd.append(Finding(kind, self._position, self._position + 1, entry))
