"""The sealed log held against what was signed of it: checkpoints, tiles and events, from checkpoint to checkpoint.

It reads one snapshot of the database and no further than the newest checkpoint in it, so that whoever writes meanwhile
is not in its way; and it holds no more than what lies between two checkpoints.

Addresses and programs of callers, held against the ids that sealed events name them by.

Events in places that no transaction gives: before the first, or after all that can have been written by now.

They are not in the order of commits as it is read, so nothing that goes along it comes upon them: they would never be
sealed, delivered or missed, and still be shown in lists.

Parts of the sealed log: the checkpoints around positions, or around what happened in a span of time.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from asyncpg import Connection, Record

from app.crypto.client_ids import is_client
from app.crypto.log_check import Entry, Finding, Follower, Head, Kind, Step
from app.crypto.signed_notes import NoteFault, VerifierKey, open_checkpoint
from app.domain.merkle import Frontier, cover
from app.features.audit.queries import Position
from app.features.audit.sealing.drops import Drops
from app.features.audit.sealing.kept import Kept, hold_against
from app.features.audit.sealing.leaves import (
    BEGINNING,
    LEAF_COLUMNS,
    MOST_LEAVES,
    TILE,
    TILE_BITS,
    Edge,
    LogFault,
    Sealed,
    SealedTree,
    checkpoint_before,
    checkpoint_below,
    checkpoint_holding,
    latest_checkpoint,
    leaf_of,
    position_of,
    previous_size,
)
from app.features.audit.sealing.verdict import (
    CHECKPOINT,
    MOST_TOLD,
    SIGNATURE,
    Entries,
    Fault,
    KeptHashes,
    Mark,
    Verdict,
    checkpoints,
    positions,
)
from app.lib.ids import EVENT, format_id

CLIENT = "client"
"""Address, user agent or program of a caller is not what events were sealed with."""
_AT_ONCE = 4_096
_ROWS = """
SELECT id, salt, ip, user_agent, name, version FROM audit_clients WHERE id > $1 ORDER BY id LIMIT $2
"""
_NAMED = f"""
SELECT DISTINCT ON (client_id) client_id, id, epoch, xact, seq, count(*) OVER (PARTITION BY client_id) AS events,
    {LEAF_COLUMNS}
FROM audit_events WHERE client_id = ANY($1) ORDER BY client_id, epoch, xact, seq
"""  # noqa: S608
_ERASED = """
SELECT count(*) FROM (SELECT DISTINCT client_id FROM audit_events WHERE client_id IS NOT NULL) AS named
WHERE NOT EXISTS (SELECT FROM audit_clients WHERE id = client_id)
"""


async def check_origins(connection: "Connection[Record]", verdict: Verdict, keys: Sequence[bytes]) -> None:
    """Say which rows are not what events were sealed with, and how many rows are gone. ``keys`` are for rows of older
    code."""
    altered = await _altered(connection, keys)
    told = list(altered)[:MOST_TOLD]
    rows = await connection.fetch(_NAMED, told)
    for row in rows:
        verdict.add(await _fault(connection, row, is_salted=altered[row["client_id"]]))
    if unnamed := len(told) - len(rows):
        verdict.notes.append(f"{unnamed} altered rows of audit_clients are named by no event")
    if more := len(altered) - len(told):
        verdict.notes.append(f"{more} more rows of audit_clients were altered")
    if erased := await connection.fetchval(_ERASED):
        verdict.notes.append(f"addresses and programs of {erased} clients that events name were erased")


async def _altered(connection: "Connection[Record]", keys: Sequence[bytes]) -> dict[UUID, bool]:
    """The ids of rows that were altered, and whether each has a salt."""
    found: dict[UUID, bool] = {}
    after = UUID(int=0)
    while rows := await connection.fetch(_ROWS, after, _AT_ONCE):
        found |= {
            id: salt is not None
            for id, salt, ip, user_agent, name, version in rows
            if not is_client(id, salt, (ip, user_agent, name, version), keys)
        }
        after = rows[-1]["id"]
    return found


async def _fault(connection: "Connection[Record]", row: Record, *, is_salted: bool) -> Fault:
    place, leaf = (row["epoch"], row["xact"], row["seq"]), leaf_of(row)
    try:
        sealed = await position_of(connection, place, leaf)
    except LogFault:
        sealed = None
    position = 0 if sealed is None else sealed[0]
    event, time = format_id(EVENT, row["id"]), Entry(place, leaf).told("time")
    words = f"the caller's address or program was altered after {event} was recorded (events with it: {row['events']})"
    if not is_salted:
        words += ", or the pepper that this row was made with is not in SCOPEGATE_TOKEN_PEPPER"
    return Fault(CLIENT, position, position + 1, words, event, time)


# Each part by the index of the order. Transaction ids begin with 3; what can be seen is below the snapshot's end.
_STRAYS = f"""
WITH present AS (SELECT scopegate_epoch() AS epoch, pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS xact)
(SELECT epoch, xact, seq, {LEAF_COLUMNS} FROM audit_events WHERE epoch < 1 LIMIT $1)
UNION ALL
(SELECT stray.* FROM (SELECT epoch AS opened FROM log_epochs) AS known CROSS JOIN LATERAL
 (SELECT epoch, xact, seq, {LEAF_COLUMNS} FROM audit_events WHERE epoch = opened AND xact < 1 LIMIT $1) AS stray)
UNION ALL
(SELECT epoch, xact, seq, {LEAF_COLUMNS} FROM audit_events
 WHERE epoch = (SELECT epoch FROM present) AND xact >= (SELECT xact FROM present) LIMIT $1)
UNION ALL
(SELECT epoch, xact, seq, {LEAF_COLUMNS} FROM audit_events WHERE epoch > (SELECT epoch FROM present) LIMIT $1)
LIMIT $1
"""  # noqa: S608


async def strays(connection: "Connection[Record]", size: int) -> list[Finding]:
    """What was put in where nothing is sealed, of a log of ``size`` sealed events; some, if there are very many."""
    rows = await connection.fetch(_STRAYS, MOST_TOLD)
    return [
        Finding(Kind.INSERTED, size, size, Entry((row["epoch"], row["xact"], row["seq"]), leaf_of(row)))
        for row in rows
    ]


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


_COLUMNS = "tree_size, epoch, last_xact, last_seq, root_hash, note, created_at"
_UP_TO = f"SELECT {_COLUMNS} FROM audit_checkpoints WHERE tree_size <= $1 ORDER BY tree_size DESC LIMIT 1"  # noqa: S608
_FROM = f"SELECT {_COLUMNS} FROM audit_checkpoints WHERE tree_size >= $1 ORDER BY tree_size LIMIT 1"  # noqa: S608

# Checkpoints are made in the order of their sizes, and their times may lie a little wrong where clocks do.
_SIGNED_BEFORE = "SELECT max(tree_size) FROM audit_checkpoints WHERE created_at < $1"
_SIGNED_FROM = "SELECT min(tree_size) FROM audit_checkpoints WHERE created_at >= $1"
_SIGNED_WITHIN = """
SELECT EXISTS (
    SELECT FROM audit_checkpoints
    WHERE ($1::timestamptz IS NULL OR created_at >= $1) AND ($2::timestamptz IS NULL OR created_at < $2)
)
"""
_FIRST = """
SELECT epoch, xact, seq FROM audit_events
WHERE ($1::timestamptz IS NULL OR time >= $1) AND ($2::timestamptz IS NULL OR time < $2)
ORDER BY epoch, xact, seq LIMIT 1
"""
_LAST = _FIRST.replace("ORDER BY epoch, xact, seq", "ORDER BY epoch DESC, xact DESC, seq DESC")


class NoSuchPart(ValueError):
    """The log has no such part. The message says why, for people."""


def by_positions(first: int, end: int | None) -> FindSpan:
    """The part with the positions ``first`` up to, but without, ``end``; to the newest checkpoint without one.

    It raises ``NoSuchPart``.
    """

    async def find(connection: "Connection[Record]", latest: Sealed) -> Span:
        to = latest.size if end is None else end
        if not 0 <= first < to <= latest.size:
            raise NoSuchPart(
                f"the log has sealed positions 0 to {latest.size - 1}; give --from and --to within these"
            )
        return Span(await _one(connection, _UP_TO, first), await _one(connection, _FROM, to) or latest)

    return find


def by_time(since: datetime | None, until: datetime | None) -> FindSpan:
    """The part with all that was sealed of a span of time: what is there of it, and what was signed meanwhile."""

    async def find(connection: "Connection[Record]", latest: Sealed) -> Span:
        is_signed = await connection.fetchval(_SIGNED_WITHIN, since, until)
        if not is_signed and await connection.fetchrow(_FIRST, since, until) is None:
            raise NoSuchPart("there is no event of that time, and no checkpoint")
        start = None if since is None else await _start(connection, since, until)
        end = latest if until is None else await _end(connection, since, until, latest)
        if start is not None and start.size >= end.size:
            raise NoSuchPart("nothing of that time is sealed")
        return Span(start, end)

    return find


async def _start(connection: "Connection[Record]", since: datetime, until: datetime | None) -> Sealed | None:
    signed = await _one(connection, _UP_TO, await connection.fetchval(_SIGNED_BEFORE, since) or 0)
    first = _place(await connection.fetchrow(_FIRST, since, until))
    before = signed if first is None else await checkpoint_before(connection, first)
    return min((signed, before), key=lambda sealed: 0 if sealed is None else sealed.size)


async def _end(
    connection: "Connection[Record]", since: datetime | None, until: datetime, latest: Sealed
) -> Sealed:
    size = await connection.fetchval(_SIGNED_FROM, until)
    signed = latest if size is None else await _one(connection, _FROM, size) or latest
    last = _place(await connection.fetchrow(_LAST, since, until))
    holding = signed if last is None else await checkpoint_holding(connection, last) or latest
    return max(signed, holding, key=lambda sealed: sealed.size)


async def _one(connection: "Connection[Record]", statement: str, size: int) -> Sealed | None:
    row = await connection.fetchrow(statement, size)
    if row is None:
        return None
    tree_size, epoch, xact, seq, root, note, at = row
    return Sealed(tree_size, (epoch, xact, seq), root, note, at)


def _place(row: Record | None) -> Position | None:
    return None if row is None else (row["epoch"], row["xact"], row["seq"])
