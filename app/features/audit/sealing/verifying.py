"""Verify the sealed log: checkpoints, tiles and events, from checkpoint to checkpoint.

It reads one snapshot of the database, up to its newest checkpoint, so it does not disturb writers, and it holds no more
in memory than lies between two checkpoints. The whole log or a part of it can be verified.

Two kinds of forgery outside the tree are found as well: changed addresses and programs of callers, by the ids that
sealed events have of them; and events at places that no transaction has, before the first or after all that can be
written by now. Reading in commit order never meets these: they would never be sealed, delivered or missed, but lists
would show them.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from app.crypto.client_ids import is_client
from app.crypto.log_check import Entry, Finding, Follower, Head, Kind
from app.db.connection import Connection
from app.domain.merkle import Frontier, cover
from app.features.audit.sealing import leaves
from app.features.audit.sealing.drops import Drops
from app.features.audit.sealing.leaves import LogFault, SealedTree, StoredCheckpoint, leaf_of, place_of
from app.features.audit.sealing.verdict import (
    CHECKPOINT,
    MAX_FAULTS,
    SIGNATURE,
    ExternalCheckpoint,
    Fault,
    Mark,
    Verdict,
    compare_checkpoints,
    positions,
)
from app.lib.ids import EVENT, format_id

CLIENT = "client"
"""Address, user agent or program of a caller that differs from what events were sealed with."""
_AT_ONCE = 4_096
_ROWS = """
SELECT id, salt, ip, user_agent, name, version FROM audit_clients WHERE id > $1 ORDER BY id LIMIT $2
"""
_NAMED = f"""
SELECT DISTINCT ON (client_id) client_id, id, epoch, xact, seq, count(*) OVER (PARTITION BY client_id) AS events,
    {leaves.LEAF_COLUMNS}
FROM audit_events WHERE client_id = ANY($1) ORDER BY client_id, epoch, xact, seq
"""  # noqa: S608
_ERASED = """
SELECT count(*) FROM (SELECT DISTINCT client_id FROM audit_events WHERE client_id IS NOT NULL) AS named
WHERE NOT EXISTS (SELECT FROM audit_clients WHERE id = client_id)
"""


async def check_origins(connection: Connection, verdict: Verdict, keys: Sequence[bytes]) -> None:
    """Add faults for altered rows, and a note with the number of erased ones. ``keys`` are for rows of older
    versions."""
    # By id, whether each altered row has a salt.
    altered: dict[UUID, bool] = {}
    after = UUID(int=0)
    while rows := await connection.fetch(_ROWS, after, _AT_ONCE):
        altered |= {
            id: salt is not None
            for id, salt, ip, user_agent, name, version in rows
            if not is_client(id, salt, (ip, user_agent, name, version), keys)
        }
        after = rows[-1]["id"]
    listed = list(altered)[:MAX_FAULTS]
    rows = await connection.fetch(_NAMED, listed)
    for row in rows:
        place, leaf = place_of(row), leaf_of(row)
        try:
            sealed = await leaves.position_of(connection, place, leaf)
        except LogFault:
            sealed = None
        position = 0 if sealed is None else sealed[0]
        event, time = format_id(EVENT, row["id"]), Entry(place, leaf).text_field("time")
        words = (
            f"the caller's address or program was altered after {event} was recorded "
            f"(events with it: {row['events']})"
        )
        if not altered[row["client_id"]]:
            words += ", or the pepper that this row was made with is not in SCOPEGATE_TOKEN_PEPPER"
        verdict.add(Fault(CLIENT, position, position + 1, words, event, time))
    if unnamed := len(listed) - len(rows):
        verdict.notes.append(f"{unnamed} altered rows of audit_clients are named by no event")
    if more := len(altered) - len(listed):
        verdict.notes.append(f"{more} more rows of audit_clients were altered")
    if erased := await connection.fetchval(_ERASED):
        verdict.notes.append(f"addresses and programs of {erased} clients that events name were erased")


# Some events at places where nothing is sealed. Each part uses the index of the commit order. Transaction ids begin
# with 3; visible ones are below the snapshot's end.
_MISPLACED = f"""
WITH present AS (SELECT scopegate_epoch() AS epoch, pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS xact)
(SELECT epoch, xact, seq, {leaves.LEAF_COLUMNS} FROM audit_events WHERE epoch < 1 LIMIT $1)
UNION ALL
(SELECT stray.* FROM (SELECT epoch AS opened FROM log_epochs) AS known CROSS JOIN LATERAL
 (SELECT epoch, xact, seq, {leaves.LEAF_COLUMNS} FROM audit_events WHERE epoch = opened AND xact < 1 LIMIT $1) AS stray)
UNION ALL
(SELECT epoch, xact, seq, {leaves.LEAF_COLUMNS} FROM audit_events
 WHERE epoch = (SELECT epoch FROM present) AND xact >= (SELECT xact FROM present) LIMIT $1)
UNION ALL
(SELECT epoch, xact, seq, {leaves.LEAF_COLUMNS} FROM audit_events WHERE epoch > (SELECT epoch FROM present) LIMIT $1)
LIMIT $1
"""  # noqa: S608


_GAP = 4 * _AT_ONCE
"""Between checkpoints with a larger gap, which the sealer never leaves, verification uses smaller steps."""

_MAX_UNSIGNED = 10_000

# A concurrent drop of a month waits, so that every month in the snapshot exists. Everything is read in index order: a
# plan that sorts a month would sort it for each page.
_AT_THE_START = """
LOCK TABLE audit_events IN ACCESS SHARE MODE;
SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off; SET LOCAL jit = off
"""

_LAST_TILES = "SELECT level, max(number) AS number FROM audit_tiles GROUP BY level"


@dataclass(frozen=True, slots=True)
class Span:
    """The part of the log to verify: from one checkpoint (None: from the beginning) to another."""

    start: StoredCheckpoint | None
    end: StoredCheckpoint


FindSpan = Callable[[Connection, StoredCheckpoint], Awaitable[Span]]


class Verification:
    """One verification of a log or a part of it. ``kept`` are checkpoints from elsewhere, for a whole log."""

    def __init__(
        self,
        connection: Connection,
        keys: leaves.Keys,
        kept: Sequence[ExternalCheckpoint],
        latest: StoredCheckpoint,
        span: Span,
    ) -> None:
        self._connection, self._keys, self._kept = connection, keys, kept
        self._latest, self._span = latest, span
        size, place = (0, leaves.BEGINNING) if span.start is None else (span.start.size, span.start.place)
        self._entries = leaves.Entries(connection, place, span.end.place)
        self._hashes = leaves.KeptHashes(connection, latest.size)
        self._tree = leaves.PartialTree() if span.start is None else None
        self._drops = Drops()
        self._verdict = Verdict(size, span.end.size)
        self._unsigned: list[StoredCheckpoint] = []
        self._since = [size]
        """The size of the last signed checkpoint, and of those after it."""
        self._why = ""
        self._reached: dict[ExternalCheckpoint, bool] = {}

    async def verdict(self, newest: int) -> Verdict:
        """Verify and return the result. ``newest`` is the size of the newest checkpoint, signed or not."""
        self._follower = await self._start()
        after = _mark(self._span.start)
        async for sealed in leaves.checkpoints_between(self._connection, after.size, self._span.end.size):
            self._verdict.checkpoints += 1
            if self._is_signed(sealed):
                self._check_previous(sealed)
                while sealed.size - self._follower.size > _GAP and await self._advance(_AT_ONCE, sealed):
                    pass
                await self._step_to(sealed, after)
                after, self._since = _mark(sealed), [sealed.size]
            else:
                # In steps: an unsigned checkpoint may claim any size.
                while (remaining := sealed.size - self._follower.size) > 0:
                    if not await self._advance(min(remaining, _AT_ONCE), sealed):
                        break
                self._since.append(sealed.size)
        # Checkpoints beyond the newest signed one prove nothing about the log.
        async for sealed in leaves.checkpoints_between(self._connection, self._latest.size, newest):
            self._is_signed(sealed)
        self._tell_unsigned(None)
        is_whole = self._span.start is None
        if is_whole:
            size, latest = self._latest.size, _mark(self._latest)
            rows = await self._connection.fetch(_MISPLACED, MAX_FAULTS)
            misplaced = (Entry(place_of(row), leaf_of(row)) for row in rows)
            findings = [Finding(Kind.INSERTED, size, size, entry) for entry in misplaced]
            self._verdict.add_findings(findings, latest, latest)
            await check_end(self._connection, self._verdict, newest)
        await self._drops.add_unexplained(self._verdict, self._connection, self._latest, is_whole)
        await compare_checkpoints(self._connection, self._verdict, self._kept, self._latest, self._reached)
        return self._verdict

    async def _start(self) -> Follower:
        """Start at the beginning of the part: the tree before it must be the signed one."""
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

    def _check_previous(self, sealed: StoredCheckpoint) -> None:
        """Check that the previous checkpoint is the one named in a checkpoint."""
        before, previous = self._since[-1], leaves.previous_size(sealed.note)
        if previous is None and sealed.size - before > leaves.MAX_LEAVES:
            what = f"more than the {leaves.MAX_LEAVES} events that one adds at most"
        elif previous is not None and previous not in self._since:
            what = f"the later one was signed after one of {previous}"
        else:
            return
        words = f"a checkpoint is missing between those of {before} and of {sealed.size} events: {what}"
        self._verdict.add(
            Fault(CHECKPOINT, before, sealed.size, words, after=Mark(before), before=_mark(sealed))
        )

    def _is_signed(self, sealed: StoredCheckpoint) -> bool:
        """Whether a checkpoint is signed and agrees with its row; an unsigned one proves nothing."""
        fault = leaves.signature_fault(sealed, self._keys)
        if fault is None:
            self._tell_unsigned(sealed)
            return True
        self._why = self._why if self._unsigned else fault
        self._unsigned.append(sealed)
        return False

    def _tell_unsigned(self, before: StoredCheckpoint | None) -> None:
        if self._unsigned:
            first, last, count = self._unsigned[0].size, self._unsigned[-1].size, len(self._unsigned)
            which = f"checkpoint of {first}" if count == 1 else f"{count} checkpoints of {first} to {last}"
            words = f"the {which} events cannot be relied on: {self._why}"
            end, mark = (last, None) if before is None else (before.size, _mark(before))
            self._verdict.add(Fault(SIGNATURE, first, end, words, before=mark))
            self._unsigned = []

    async def _advance(self, count: int, sealed: StoredCheckpoint) -> bool:
        """Continue without a signed root, if nothing contradicts that and no kept checkpoint is there."""
        first = self._follower.size
        if any(first < external.checkpoint.size <= first + count for external in self._kept):
            return False
        entries = await self._entries.up_to(sealed.place, count)
        hashes = await self._hashes.of(first, first + count)
        if len(entries) != count or not self._follower.advance(entries, hashes):
            return False
        self._entries.consume(count)
        self._verdict.events += count
        self._drops.collect_drops(entries)
        await self._check_upper_tiles([entry.hash for entry in entries])
        return True

    async def _step_to(self, sealed: StoredCheckpoint, after: Mark) -> None:
        first = self._follower.size
        entries = await self._entries.up_to(sealed.place)
        self._entries.consume(len(entries))
        self._verdict.events += len(entries)
        hashes = await self._hashes.of(first, sealed.size)
        elsewhere = {
            external: Head(external.checkpoint.size, external.checkpoint.root)
            for external in self._kept
            if first < external.checkpoint.size <= sealed.size
        }
        step = self._follower.step(Head(sealed.size, sealed.root), entries, hashes, list(elsewhere.values()))
        before = _mark(sealed)
        missing = [finding for finding in step.findings if finding.kind is Kind.MISSING]
        self._drops.add_missing(missing, after, before)
        others = [finding for finding in step.findings if finding.kind is not Kind.MISSING]
        self._verdict.add_findings(others, after, before)
        for number in self._hashes.missing:
            start, words = number * leaves.TILE, f"tile {number} of the kept hashes is missing"
            self._verdict.add(
                Fault(Kind.HASHES, start, start + leaves.TILE, words, after=after, before=before)
            )
        self._hashes.missing.clear()
        if step.is_certain:
            unchanged = set(step.sealed) if step.findings else None
            self._drops.collect_drops(each for each in entries if unchanged is None or each.hash in unchanged)
            self._reached |= {external: head not in step.foreign for external, head in elsewhere.items()}
            await self._check_upper_tiles(step.sealed)

    async def _check_upper_tiles(self, sealed: Sequence[bytes]) -> None:
        """Check that the tiles above the leaves follow from these, as far as these are certain."""
        if self._tree is None or self._follower.is_lost:
            return
        for tile in self._tree.extend(sealed):
            if tile.level and await self._hashes.stored(tile.level, tile.number) != tile.hashes:
                width = leaves.TILE ** (tile.level + 1)
                first, end = tile.number * width, (tile.number + 1) * width
                which = f"tile {tile.number} of level {tile.level}"
                words = f"{which}, over {positions(first, end)}, is not what follows from these"
                self._verdict.add(Fault(Kind.HASHES, first, end, words))


async def verify_log(
    connection: Connection,
    keys: leaves.Keys,
    kept: Sequence[ExternalCheckpoint],
    find_span: FindSpan | None = None,
    client_keys: Sequence[bytes] = (),
) -> Verdict:
    """Verify the log in one snapshot: all of it, also against checkpoints kept elsewhere, or a part of it.

    ``find_span`` chooses the part, given the newest checkpoint. ``client_keys`` are those that older versions made ids
    of clients with. Raises asyncpg's errors and ``OSError``.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.execute(_AT_THE_START)
        newest = await leaves.latest_checkpoint(connection)
        if newest is None:
            verdict = Verdict(notes=["nothing is sealed yet"])
            await check_end(connection, verdict, 0)
            await compare_checkpoints(connection, verdict, kept, None, {})
            await check_origins(connection, verdict, client_keys)
            return verdict
        latest = await _newest_signed(connection, keys, newest)
        span = Span(None, latest) if find_span is None else await find_span(connection, latest)
        if span.end.size > latest.size:
            span = Span(span.start, latest)
        verdict = await Verification(connection, keys, kept, latest, span).verdict(newest.size)
        if find_span is None:
            await check_origins(connection, verdict, client_keys)
        return verdict


async def check_end(connection: Connection, verdict: Verdict, size: int) -> None:
    """Add a fault if tiles go beyond the last checkpoint, of ``size`` events: both are written together."""
    tiles = await connection.fetch(_LAST_TILES)
    reach = max((number + 1 << leaves.TILE_BITS * (level + 1) for level, number in tiles), default=0)
    if reach > size:
        words = f"{positions(size, reach)} were sealed, as kept hashes say, and the checkpoints over them were cut off"
        verdict.add(Fault(Kind.CUT_OFF, size, reach, words, after=Mark(size)))


async def _newest_signed(
    connection: Connection, keys: leaves.Keys, newest: StoredCheckpoint
) -> StoredCheckpoint:
    """The newest signed checkpoint, up to which the log is read; the newest of all, if none of very many is signed."""
    checkpoint: StoredCheckpoint | None = newest
    for _ in range(_MAX_UNSIGNED):
        if checkpoint is None or leaves.signature_fault(checkpoint, keys) is None:
            return checkpoint or newest
        checkpoint = await leaves.checkpoint_up_to(connection, checkpoint.size - 1)
    return newest


def _mark(sealed: StoredCheckpoint | None) -> Mark:
    return Mark(0) if sealed is None else Mark(sealed.size, sealed.created_at.isoformat(timespec="seconds"))


# Checkpoints are created in the order of their sizes; their times may be slightly out of order.
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
    """The log has no such part. The message says why."""


async def by_positions(first: int, end: int | None, connection: Connection, latest: StoredCheckpoint) -> Span:
    """Find the part with the positions ``first`` up to, but without, ``end``; by default to the newest checkpoint.

    Raises ``NoSuchPart``.
    """
    to = latest.size if end is None else end
    if not 0 <= first < to <= latest.size:
        raise NoSuchPart(
            f"the log has sealed positions 0 to {latest.size - 1}; give --from and --to within these"
        )
    return Span(
        await leaves.checkpoint_up_to(connection, first),
        await leaves.checkpoint_from(connection, to) or latest,
    )


async def by_time(
    since: datetime | None, until: datetime | None, connection: Connection, latest: StoredCheckpoint
) -> Span:
    """Find the part sealed in a span of time: the events of that time, and the checkpoints signed then."""
    first = await connection.fetchrow(_FIRST, since, until)
    if first is None and not await connection.fetchval(_SIGNED_WITHIN, since, until):
        raise NoSuchPart("there is no event of that time, and no checkpoint")
    start, end = None, latest
    if since is not None:
        size = await connection.fetchval(_SIGNED_BEFORE, since) or 0
        start = await leaves.checkpoint_up_to(connection, size)
        before = start if first is None else await leaves.checkpoint_before(connection, place_of(first))
        start = min((start, before), key=lambda sealed: 0 if sealed is None else sealed.size)
    if until is not None:
        size = await connection.fetchval(_SIGNED_FROM, until)
        end = latest if size is None else await leaves.checkpoint_from(connection, size) or latest
        last = await connection.fetchrow(_LAST, since, until)
        holding = (
            end if last is None else await leaves.checkpoint_holding(connection, place_of(last)) or latest
        )
        end = max(end, holding, key=lambda sealed: sealed.size)
    if start is not None and start.size >= end.size:
        raise NoSuchPart("nothing of that time is sealed")
    return Span(start, end)
