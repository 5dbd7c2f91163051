"""The sealed log held against what was signed of it: checkpoints, tiles and events, from checkpoint to checkpoint.

It reads one snapshot of the database and no further than the newest checkpoint in it, so that whoever writes meanwhile
is not in its way; and it holds no more than what lies between two checkpoints.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from asyncpg import Connection, Record

from app.crypto.log_check import Entry, Follower, Head, Kind, Step
from app.crypto.signed_notes import NoteFault, VerifierKey, open_checkpoint
from app.domain.merkle import Frontier, cover
from app.features.audit.sealing.drops import Drops
from app.features.audit.sealing.frontier import TILE, TILE_BITS, Edge
from app.features.audit.sealing.kept import Kept, hold_against
from app.features.audit.sealing.origins import check_origins
from app.features.audit.sealing.strays import strays
from app.features.audit.sealing.tiles import (
    BEGINNING,
    MOST_LEAVES,
    LogFault,
    Sealed,
    SealedTree,
    checkpoint_below,
    latest_checkpoint,
    previous_size,
)
from app.features.audit.sealing.verdict import CHECKPOINT, SIGNATURE, Fault, Mark, Verdict, positions
from app.features.audit.sealing.walking import Entries, KeptHashes, checkpoints

_AT_ONCE = 4_096
_GAP = 4 * _AT_ONCE
"""Between checkpoints that lie further apart, of which the sealer makes none, it is gone on in smaller steps."""

_MOST_UNSIGNED = 10_000

# Whoever drops a month meanwhile waits, and so none is gone that the snapshot still has. Everything is read by index,
# in its order: a plan for a page that sorts a month would sort it for each page.
_AT_THE_START = """
LOCK TABLE audit_events IN ACCESS SHARE MODE;
SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off; SET LOCAL jit = off
"""

_LAST_TILES = "SELECT level, max(number) AS number FROM audit_tiles GROUP BY level"

Keys = Callable[[str], Sequence[VerifierKey]]
"""The keys of a log by the name that it has in a checkpoint."""


@dataclass(frozen=True, slots=True)
class Span:
    """What of the log is looked at: from one checkpoint (None: from the beginning) to another."""

    start: Sealed | None
    end: Sealed


FindSpan = Callable[["Connection[Record]", Sealed], Awaitable[Span]]


class Walk:
    """One look at a log, or at a part of it. ``kept`` are checkpoints from elsewhere, for a look at all of it."""

    def __init__(
        self, connection: "Connection[Record]", keys: Keys, kept: Sequence[Kept], latest: Sealed, span: Span
    ) -> None:
        self._connection = connection
        self._keys = keys
        self._kept = kept
        self._latest = latest
        self._span = span
        self._entries = Entries(
            connection, BEGINNING if span.start is None else span.start.place, span.end.place
        )
        self._hashes = KeptHashes(connection, latest.size)
        self._edge = Edge() if span.start is None else None
        self._drops = Drops()
        self._verdict = Verdict(0 if span.start is None else span.start.size, span.end.size)
        self._unsigned: list[Sealed] = []
        self._since = [0 if span.start is None else span.start.size]
        """The sizes of the last checkpoint that is signed, and of those after it."""
        self._why = ""
        self._reached: dict[Kept, bool] = {}

    async def verdict(self, newest: int) -> Verdict:
        """Go through it and say what came out. ``newest`` is the size of the newest checkpoint, signed or not."""
        self._follower = await self._start()
        after = _mark(self._span.start)
        async for sealed in checkpoints(self._connection, after.size, self._span.end.size):
            self._verdict.checkpoints += 1
            if self._is_signed(sealed):
                self._check_previous(sealed)
                await self._glide_to(sealed)
                await self._step_to(sealed, after)
                after = _mark(sealed)
                self._since = []
            else:
                await self._glide_along(sealed)
            self._since.append(sealed.size)
        # Those beyond the newest that is signed: what they say of the log is nothing to go by.
        async for sealed in checkpoints(self._connection, self._latest.size, newest):
            self._is_signed(sealed)
        self._tell_unsigned(None)
        if self._span.start is None:
            found, latest = await strays(self._connection, self._latest.size), _mark(self._latest)
            self._verdict.add_findings(found, latest, latest)
            await check_end(self._connection, self._verdict, newest)
        await self._drops.excuse(self._verdict, self._connection, self._latest, self._span.start is None)
        await hold_against(self._connection, self._verdict, self._kept, self._latest, self._reached)
        return self._verdict

    async def _start(self) -> Follower:
        """Where the part begins: the tree before it has to be the one that was signed."""
        start = self._span.start
        if start is None:
            return Follower()
        tree = SealedTree(self._connection, self._latest.size, self._latest.place)
        try:
            hashes = [await tree.subtree(level, number) for level, number in cover(0, start.size)]
            frontier = Frontier(start.size, hashes)
            self._is_signed(start)
            if frontier.root() == start.root:
                return Follower(frontier)
        except LogFault:
            frontier = Frontier(start.size, [b""] * start.size.bit_count())
        words = f"the kept hashes of what comes before do not give the root of the checkpoint of {start.size} events"
        self._verdict.add(Fault(Kind.HASHES, 0, start.size, words, before=_mark(start)))
        follower = Follower(frontier)
        follower.is_lost = True
        return follower

    def _check_previous(self, sealed: Sealed) -> None:
        """Whether the checkpoint before is the one that a checkpoint was signed after."""
        before, said = self._since[-1], previous_size(sealed.note)
        if said is None and sealed.size - before > MOST_LEAVES:
            what = f"more than the {MOST_LEAVES} events that one adds at most"
        elif said is not None and said not in self._since:
            what = f"the later one was signed after one of {said}"
        else:
            return
        words = f"a checkpoint is missing between those of {before} and of {sealed.size} events: {what}"
        self._verdict.add(
            Fault(CHECKPOINT, before, sealed.size, words, after=Mark(before), before=_mark(sealed))
        )

    def _is_signed(self, sealed: Sealed) -> bool:
        """Whether a checkpoint is signed and says what is stored beside it; what is not signed proves nothing."""
        fault = _fault_of(sealed, self._keys)
        if fault is None:
            self._tell_unsigned(sealed)
            return True
        self._why = self._why if self._unsigned else fault
        self._unsigned.append(sealed)
        return False

    def _tell_unsigned(self, before: Sealed | None) -> None:
        if self._unsigned:
            first, last, count = self._unsigned[0], self._unsigned[-1], len(self._unsigned)
            which = (
                f"checkpoint of {first.size}"
                if count == 1
                else f"{count} checkpoints of {first.size} to {last.size}"
            )
            words = f"the {which} events cannot be relied on: {self._why}"
            end = last.size if before is None else before.size
            self._verdict.add(
                Fault(SIGNATURE, first.size, end, words, before=None if before is None else _mark(before))
            )
            self._unsigned = []

    async def _glide_to(self, sealed: Sealed) -> None:
        while sealed.size - self._follower.size > _GAP and await self._glide(_AT_ONCE, sealed):
            pass

    async def _glide_along(self, sealed: Sealed) -> None:
        """Go on to what is not signed, in steps: it may say of itself that it is as large as can be."""
        left = sealed.size - self._follower.size
        while left > 0 and await self._glide(min(left, _AT_ONCE), sealed):
            left = sealed.size - self._follower.size

    async def _glide(self, count: int, sealed: Sealed) -> bool:
        """Go on without a signed root, if nothing speaks against it and nothing from elsewhere lies there."""
        first = self._follower.size
        if any(first < kept.checkpoint.size <= first + count for kept in self._kept):
            return False
        entries = await self._entries.up_to(sealed.place, count)
        kept = await self._hashes.of(first, first + count)
        if len(entries) != count or not self._follower.glide(entries, kept):
            return False
        self._entries.pass_by(count)
        self._verdict.events += count
        self._drops.look_at(entries)
        await self._check_upper_tiles([entry.hash for entry in entries])
        return True

    async def _step_to(self, sealed: Sealed, after: Mark) -> None:
        first = self._follower.size
        entries = await self._entries.up_to(sealed.place)
        self._entries.pass_by(len(entries))
        self._verdict.events += len(entries)
        kept = await self._hashes.of(first, sealed.size)
        elsewhere = {
            one: Head(one.checkpoint.size, one.checkpoint.root)
            for one in self._kept
            if first < one.checkpoint.size <= sealed.size
        }
        step = self._follower.step(Head(sealed.size, sealed.root), entries, kept, list(elsewhere.values()))
        self._note(step, entries, after, _mark(sealed))
        if step.is_certain:
            self._reached |= {one: head not in step.foreign for one, head in elsewhere.items()}
            await self._check_upper_tiles(step.sealed)

    def _note(self, step: Step, entries: Sequence[Entry], after: Mark, before: Mark) -> None:
        missing = [finding for finding in step.findings if finding.kind is Kind.MISSING]
        self._drops.missed(missing, after, before)
        others = [finding for finding in step.findings if finding.kind is not Kind.MISSING]
        self._verdict.add_findings(others, after, before)
        if step.is_certain:
            sealed = set(step.sealed) if step.findings else None
            self._drops.look_at([entry for entry in entries if sealed is None or entry.hash in sealed])
        for number in self._hashes.take_missing():
            words = f"tile {number} of the kept hashes is missing"
            self._verdict.add(
                Fault(Kind.HASHES, number * 256, number * 256 + 256, words, after=after, before=before)
            )

    async def _check_upper_tiles(self, sealed: Sequence[bytes]) -> None:
        """Tiles above the leaves follow from those, as far as one is sure of them."""
        if self._edge is None or self._follower.is_lost:
            return
        for tile in self._edge.extend(sealed):
            if tile.level and await self._hashes.stored(tile.level, tile.number) != tile.hashes:
                width = TILE ** (tile.level + 1)
                first, end = tile.number * width, (tile.number + 1) * width
                which = f"tile {tile.number} of level {tile.level}"
                words = f"{which}, over {positions(first, end)}, is not what follows from these"
                self._verdict.add(Fault(Kind.HASHES, first, end, words))


async def verify_log(
    connection: "Connection[Record]",
    keys: Keys,
    kept: Sequence[Kept],
    find_span: FindSpan | None = None,
    client_keys: Sequence[bytes] = (),
) -> Verdict:
    """Look at the log in one snapshot: all of it, held against checkpoints that were kept elsewhere, or a part of it.

    ``find_span`` says which part, given the newest checkpoint. ``client_keys`` are those that older code made ids of
    clients with. Raises asyncpg's errors and ``OSError``.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.execute(_AT_THE_START)
        newest = await latest_checkpoint(connection)
        if newest is None:
            verdict = Verdict(notes=["nothing is sealed yet"])
            await check_end(connection, verdict, 0)
            await hold_against(connection, verdict, kept, None, {})
            await check_origins(connection, verdict, client_keys)
            return verdict
        latest = await _newest_signed(connection, keys, newest)
        span = Span(None, latest) if find_span is None else await find_span(connection, latest)
        if span.end.size > latest.size:
            span = Span(span.start, latest)
        verdict = await Walk(connection, keys, kept, latest, span).verdict(newest.size)
        if find_span is None:
            await check_origins(connection, verdict, client_keys)
        return verdict


async def check_end(connection: "Connection[Record]", verdict: Verdict, size: int) -> None:
    """Say where tiles go on behind the last checkpoint, of ``size`` events: they are written together with one."""
    reach = max(
        [
            number + 1 << TILE_BITS * (level + 1)
            for level, number in await connection.fetch(_LAST_TILES)
            if (number + 1) << TILE_BITS * (level + 1) > size
        ],
        default=0,
    )
    if reach:
        words = f"{positions(size, reach)} were sealed, as kept hashes say, and the checkpoints over them were cut off"
        verdict.add(Fault(Kind.CUT_OFF, size, reach, words, after=Mark(size)))


async def _newest_signed(connection: "Connection[Record]", keys: Keys, newest: Sealed) -> Sealed:
    """The newest checkpoint that is signed, by which the log is read; the newest of all, if none of very many is."""
    found: Sealed | None = newest
    for _ in range(_MOST_UNSIGNED):
        if found is None:
            break
        if _fault_of(found, keys) is None:
            return found
        found = await checkpoint_below(connection, found.size)
    return newest


def _fault_of(sealed: Sealed, keys: Keys) -> str | None:
    """Why a stored checkpoint cannot be relied on; None for one that is signed and says what is stored beside it."""
    try:
        said, _ = open_checkpoint(sealed.note, keys(sealed.note.partition("\n")[0]))
    except NoteFault as error:
        return str(error)
    is_it = (said.size, said.root) == (sealed.size, sealed.root)
    return None if is_it else "it says something else than is stored beside it"


def _mark(sealed: Sealed | None) -> Mark:
    return Mark(0) if sealed is None else Mark(sealed.size, sealed.created_at.isoformat(timespec="seconds"))
