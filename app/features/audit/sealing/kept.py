"""Checkpoints that were kept elsewhere: they tell whether the log is still the one that they were signed for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from asyncpg import Connection, Record

from app.crypto.log_check import Kind
from app.crypto.signed_notes import Checkpoint, Note, NoteFault, Signed
from app.domain.merkle import EMPTY_ROOT, Frontier, cover, leaf_hash
from app.features.audit.sealing.leaves import leaf_of, read_stretch
from app.features.audit.sealing.tiles import BEGINNING, LogFault, Sealed, SealedTree
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
