"""Leaves, tiles and checkpoints of the sealed log. See ADR 22.

A leaf is the stored row as canonical JSON, by the rules in ``docs/explanation/sealed-audit.md``. Columns that are NULL
are left out, so that a new column changes no leaf that was sealed before it. The database formats everything except
``changes``, which costs a fraction of the worker's time that Python would take.

The tree is cut into tiles of 256 adjacent hashes, as in C2SP's tlog-tiles: on level 0 those of leaves, one level higher
those of whole tiles below. A tile is written once, when it is full. Hashes that fill no tile yet are stored nowhere:
they are computed from the tiles below or, on level 0, from the events. A reader names the checkpoint, whose signed root
confirms what was read.
"""

import asyncio
import json
import re
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from itertools import islice
from typing import Any, NamedTuple, cast

from asyncpg import Record
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import SQLModel

from app.crypto.log_check import Entry
from app.crypto.signed_notes import NoteFault, VerifierKey, open_checkpoint
from app.db.connection import Connection
from app.domain.errors import NotFound
from app.domain.merkle import HASH_BYTES, Frontier, cover, leaf_hash
from app.features.audit.queries import Position
from app.models.audit import AuditEvent

_TEXT = "to_json({0})::text"
_FORMS = {
    "VARCHAR": _TEXT,
    "UUID": "'\"' || {0}::text || '\"'",
    "UUID[]": _TEXT,
    "INTEGER": "{0}::text",
    "BIGINT": "{0}::text",
    "BYTEA": "'\"' || encode({0}, 'hex') || '\"'",
    "TIMESTAMP WITH TIME ZONE": (
        '\'"\' || to_char({0} AT TIME ZONE \'UTC\', \'YYYY-MM-DD"T"HH24":"MI":"SS.US"Z"\') || \'"\''
    ),
}
_CHANGES = "changes"
_FIRST = "action"
"""The first of the keys. Every event has it, so what follows begins with a comma."""
_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]|[^\s\[\]{}",:]+')


def _columns() -> str:
    table, dialect = SQLModel.metadata.tables[str(AuditEvent.__tablename__)], postgresql.dialect()  # type: ignore[no-untyped-call]
    parts = {}
    for name, column in sorted(table.columns.items()):
        if name != _CHANGES:
            before, form = "{" if name == _FIRST else ",", _FORMS[column.type.compile(dialect)]
            # NULL, and so left out, if the column is NULL.
            parts[name] = f"""'{before}"{name}":' || {form.format(name)}"""
    head = ", ".join(part for name, part in parts.items() if name < _CHANGES)
    tail = ", ".join(part for name, part in parts.items() if name > _CHANGES)
    return f"concat({head}) AS head, {_CHANGES}::text AS changes, concat({tail}, '}}') AS tail"


LEAF_COLUMNS = _columns()
"""SQL that selects from ``audit_events`` what ``leaf_of`` takes: columns ``head``, ``changes`` and ``tail``."""

_NO_END = 2**63 - 1

# The bound is a value instead of a separate condition, so that the index scan ends there. Only the newest epoch has
# open transactions.
# mutation: leaves_read
_READ = f"""
SELECT epoch, xact, seq, {LEAF_COLUMNS}
FROM audit_events
WHERE epoch = $1 AND (xact, seq) > ($2, $3) AND (xact, seq) <= ($4, $5)
  AND xact < (SELECT CASE WHEN scopegate_epoch() IS DISTINCT FROM $1 THEN {_NO_END}
              ELSE pg_snapshot_xmin(pg_current_snapshot())::text::bigint END)
ORDER BY epoch, xact, seq
LIMIT $6
"""  # noqa: S608
_READ_BACK = f"""
SELECT xact, seq, {LEAF_COLUMNS}
FROM audit_events
WHERE epoch = $1 AND (xact, seq) <= ($2, $3)
ORDER BY epoch DESC, xact DESC, seq DESC
LIMIT $4
"""  # noqa: S608

# An unopened epoch holds only forged events, and nothing comes after the last of them: a reader that followed them
# there would never return.
_NEXT_EPOCH = """
SELECT min(epoch) FROM audit_events
WHERE epoch > $1 AND epoch <= (SELECT coalesce(scopegate_epoch(), max(epoch)) FROM log_epochs)
"""
_LAST_EPOCH = "SELECT max(epoch) FROM audit_events WHERE epoch < $1"


def place_of(row: Record) -> Position:
    """The place of a row in commit order."""
    return (row["epoch"], row["xact"], row["seq"])


def leaf_of(row: Mapping[str, Any] | Record) -> bytes:
    """The leaf of a row that was read with ``LEAF_COLUMNS``."""
    changes = row[_CHANGES]
    if changes is None:
        return f"{row['head']}{row['tail']}".encode()
    return f'{row["head"]},"{_CHANGES}":{_sorted_json(changes)}{row["tail"]}'.encode()


async def read_events(
    connection: Connection, after: Position, rows: int, until: Position | None = None
) -> list[Record]:
    """Read at most ``rows`` next rows of one epoch in commit order, none later than ``until``, each with what
    ``place_of`` and ``leaf_of`` take.

    Nothing at or above the oldest open transaction is read: it may still commit an earlier row. Older epochs are read
    whole.
    """
    epoch, xact, seq = after
    while True:
        last = (_NO_END, _NO_END) if until is None or epoch < until[0] else until[1:]
        rows_read = await connection.fetch(_READ, epoch, xact, seq, *last, rows)
        if rows_read or (until is not None and epoch >= until[0]):
            return rows_read
        following = await connection.fetchval(_NEXT_EPOCH, epoch)
        if following is None or (until is not None and following > until[0]):
            return []
        epoch, xact, seq = following, -1, -1


def _sorted_json(text: str) -> str:
    """JSON from PostgreSQL, with its keys sorted and without white space.

    Numbers keep their digits, and any depth is read: every row can be sealed, no matter who wrote it.
    """
    open_: list[list[str]] = [[]]
    for token in _TOKEN.findall(text):
        if token in {"{", "["}:
            open_.append([])
        elif token == "]":
            items = open_.pop()
            open_[-1].append(f"[{','.join(items)}]")
        elif token == "}":
            parts = open_.pop()
            pairs = sorted(zip(parts[::2], parts[1::2], strict=True), key=_key)
            open_[-1].append(f"{{{','.join(f'{name}:{value}' for name, value in pairs)}}}")
        else:
            open_[-1].append(token)
    return open_[0][0]


def _key(pair: tuple[str, str]) -> str:
    name = pair[0]
    return str(json.loads(name)) if "\\" in name else name[1:-1]


TILE = 256
"""Hashes per tile."""
TILE_BITS = TILE.bit_length() - 1


class Tile(NamedTuple):
    """A full tile: its level, its number on that level from the left, and its concatenated hashes."""

    level: int
    number: int
    hashes: bytes


class PartialTree:
    """The right edge of a growing tree: only the tiles that are not full."""

    __slots__ = ("_levels", "size")

    def __init__(self, size: int = 0, levels: Iterable[Iterable[bytes]] = ()) -> None:
        """Start with ``size`` leaves and the hashes of the last, not full tile of each level, level 0 first.

        Raises ``ValueError`` if their numbers do not match the size.
        """
        self.size = size
        self._levels = [list(level) for level in levels]
        if [len(level) for level in self._levels] != [end - first for first, end in partial_tiles(size)]:
            raise ValueError(f"these hashes are not the edge of a tree of {size} leaves")

    def extend(self, leaves: Sequence[bytes]) -> list[Tile]:
        """Add the hashes of the next leaves; return the tiles that they fill, lower levels first."""
        full: list[Tile] = []
        self.size += len(leaves)
        added, level = leaves, 0
        while added:
            if level == len(self._levels):
                self._levels.append([])
            hashes = [*self._levels[level], *added]
            number = ((self.size >> TILE_BITS * level) - len(hashes)) // TILE
            tiles = [hashes[at : at + TILE] for at in range(0, len(hashes) - TILE + 1, TILE)]
            full += [Tile(level, number + place, b"".join(tile)) for place, tile in enumerate(tiles)]
            self._levels[level] = hashes[TILE * len(tiles) :]
            added, level = [subtree_root(tile) for tile in tiles], level + 1
        return full

    def root(self) -> bytes:
        """The current root of the tree (RFC 9162 section 2.1.1)."""
        subtrees = (
            subtree_root(hashes[number << level : (number + 1) << level])
            for hashes in reversed(self._levels)
            for level, number in cover(0, len(hashes))
        )
        return Frontier(self.size, subtrees).root()


def subtree_root(hashes: Sequence[bytes]) -> bytes:
    """The root over 1, 2, 4, 8 ... adjacent hashes."""
    while len(hashes) > 1:
        # ``merkle.node_hash`` inlined: its calls would cost half as much again.
        pairs = zip(hashes[::2], hashes[1::2], strict=True)
        hashes = [sha256(b"\x01" + left + right).digest() for left, right in pairs]
    return hashes[0]


def partial_tiles(size: int) -> list[tuple[int, int]]:
    """The hash range of the last, not full tile of each level, level 0 first; without its end."""
    ranges = []
    while size:
        ranges.append((size - size % TILE, size))
        size >>= TILE_BITS
    return ranges


def split_tile(hashes: bytes) -> Sequence[bytes]:
    """The hashes of a tile."""
    return [hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)]


BEGINNING: Position = (0, 0, 0)
"""The position before every event: the end of an empty log."""

MAX_LEAVES = 4_096
"""Maximum of leaves per checkpoint; finding where an event is sealed reads that many."""
PREVIOUS = "previous "
"""The label before the previous checkpoint's size, on the fourth line of a checkpoint."""
_MAX_SEARCHED = 65_536
"""Maximum of leaves to search for an event: many times as many as between two checkpoints."""
_CHECKPOINTS = (
    "SELECT tree_size, epoch, last_xact, last_seq, root_hash, note, created_at FROM audit_checkpoints"
)
_PLACE = "(epoch, last_xact, last_seq)"
_CHECKPOINTS_AT_ONCE = 1_000
_TILE = "SELECT hashes FROM audit_tiles WHERE level = $1 AND number = $2"

Keys = Callable[[str], Sequence[VerifierKey]]
"""The keys of a log by its name in a checkpoint."""


class LogFault(Exception):
    """The sealed log is not consistent. The message describes the fault for people."""


class StoredCheckpoint(NamedTuple):
    """A stored checkpoint: the number of leaves, the place of the last one, their root, and the signed note."""

    size: int
    place: Position
    root: bytes
    note: str
    created_at: datetime


def previous_size(note: str) -> int | None:
    """The size of the previous checkpoint in the text of one; None for a checkpoint of an older version."""
    for line in note.partition("\n\n")[0].split("\n")[3:]:
        size = line.removeprefix(PREVIOUS)
        if size != line and size.isdecimal():
            return int(size)
    return None


async def connection_of(session: AsyncSession) -> Connection:
    """The driver's connection of a session, for the functions here. It is in the session's transaction once that has
    begun."""
    raw = await (await session.connection()).get_raw_connection()
    return cast(Connection, raw.driver_connection)


async def latest_checkpoint(connection: Connection) -> StoredCheckpoint | None:
    """The newest checkpoint; None if nothing is sealed."""
    return await _one(connection, "ORDER BY tree_size DESC")


async def checkpoint_of(connection: Connection, size: int) -> StoredCheckpoint:
    """The checkpoint of exactly this size. Raises ``NotFound``."""
    checkpoint = await _one(connection, "WHERE tree_size = $1", size)
    if checkpoint is None:
        raise NotFound("There is no checkpoint of this size; choose one from the list.")
    return checkpoint


async def checkpoint_up_to(connection: Connection, size: int) -> StoredCheckpoint | None:
    """The largest checkpoint of at most this size."""
    return await _one(connection, "WHERE tree_size <= $1 ORDER BY tree_size DESC", size)


async def checkpoint_from(connection: Connection, size: int) -> StoredCheckpoint | None:
    """The smallest checkpoint of at least this size."""
    return await _one(connection, "WHERE tree_size >= $1 ORDER BY tree_size", size)


async def checkpoint_before(connection: Connection, place: Position) -> StoredCheckpoint | None:
    """The last checkpoint whose leaves are all before a place."""
    order = "ORDER BY epoch DESC, last_xact DESC, last_seq DESC"
    return await _one(connection, f"WHERE {_PLACE} < ($1, $2, $3) {order}", *place)


async def checkpoint_holding(connection: Connection, place: Position) -> StoredCheckpoint | None:
    """The first checkpoint that covers a place; None if that is not sealed yet."""
    order = "ORDER BY epoch, last_xact, last_seq"
    return await _one(connection, f"WHERE {_PLACE} >= ($1, $2, $3) {order}", *place)


async def newest_checkpoints(connection: Connection, before: int, count: int) -> list[StoredCheckpoint]:
    """At most ``count`` checkpoints of less than ``before`` events, newest first."""
    return await _some(connection, "WHERE tree_size < $1 ORDER BY tree_size DESC LIMIT $2", before, count)


async def checkpoints_between(
    connection: Connection, after: int, until: int
) -> AsyncIterator[StoredCheckpoint]:
    """Read the checkpoints of more than ``after`` and at most ``until`` events, by size."""
    which = "WHERE tree_size > $1 AND tree_size <= $2 ORDER BY tree_size LIMIT $3"
    while page := await _some(connection, which, after, until, _CHECKPOINTS_AT_ONCE):
        for checkpoint in page:
            yield checkpoint
        after = page[-1].size


async def _one(connection: Connection, which: str, *values: int) -> StoredCheckpoint | None:
    checkpoints = await _some(connection, f"{which} LIMIT 1", *values)
    return checkpoints[0] if checkpoints else None


async def _some(connection: Connection, which: str, *values: int) -> list[StoredCheckpoint]:
    rows = await connection.fetch(f"{_CHECKPOINTS} {which}", *values)
    return [StoredCheckpoint(size, (epoch, xact, seq), *rest) for size, epoch, xact, seq, *rest in rows]


def signature_fault(sealed: StoredCheckpoint, keys: Keys) -> str | None:
    """Why a stored checkpoint cannot be relied on; None if it is signed, under any name of the log, and agrees with its
    row."""
    try:
        checkpoint, _ = open_checkpoint(sealed.note, keys(sealed.note.partition("\n")[0]))
    except NoteFault as fault:
        return str(fault)
    agrees = (checkpoint.size, checkpoint.root) == (sealed.size, sealed.root)
    return None if agrees else "it was signed for another size or root than its stored row has"


class SealedTree:
    """The stored tree of a checkpoint; its earlier trees can be read too.

    Methods raise ``LogFault`` when a tile or an event is missing. They often yield to the event loop, since there may
    be tens of thousands of hashes to compute.
    """

    def __init__(self, connection: Connection, size: int, place: Position) -> None:
        """For ``size`` leaves, the last of which is at ``place``."""
        self._connection, self.size, self._place = connection, size, place

    async def subtree(self, level: int, number: int) -> bytes:
        """The hash over the leaves ``number << level`` to ``(number + 1) << level``, which must all be in the tree."""
        tile_level, above = divmod(level, TILE_BITS)
        return subtree_root(await self._hashes(tile_level, number << above, (number + 1) << above))

    async def leaf_hashes(self, first: int, end: int) -> list[bytes]:
        """Hashes of the leaves from position ``first`` up to, but without, ``end``."""
        return await self._hashes(0, first, end)

    async def partial_tree(self) -> PartialTree:
        """The right edge, to continue the tree."""
        ranges = enumerate(partial_tiles(self.size))
        return PartialTree(self.size, [await self._hashes(level, *tile) for level, tile in ranges])

    async def _hashes(self, level: int, first: int, end: int) -> list[bytes]:
        if not 0 <= first <= end <= self.size >> TILE_BITS * level:
            raise ValueError("there are no such hashes in a tree of this size")
        hashes: list[bytes] = []
        while first < end:
            number, begin = divmod(first, TILE)
            stop = min(end, (number + 1) * TILE)
            tile = await self._tile(level, number)
            if tile is not None:
                hashes += tile[begin : begin + stop - first]
            elif level:
                for below in range(first, stop):
                    hashes.append(
                        subtree_root(await self._hashes(level - 1, below * TILE, (below + 1) * TILE))
                    )
                    await asyncio.sleep(0)
            else:
                hashes += await self._hash_events(first, stop)
            first = stop
        return hashes

    async def _tile(self, level: int, number: int) -> Sequence[bytes] | None:
        """A full tile; None for the last, not full one of a level, which is not stored."""
        hashes = await self._connection.fetchval(_TILE, level, number)
        if hashes is not None:
            return split_tile(hashes)
        if (number + 1) * TILE <= self.size >> TILE_BITS * level:
            raise LogFault(f"tile {number} of level {level} is missing")
        return None

    async def _hash_events(self, first: int, end: int) -> list[bytes]:
        epoch: int | None
        epoch, xact, seq = self._place
        # From the last one back, across epochs.
        rows: list[Record] = []
        while epoch is not None and (count := self.size - first - len(rows)):
            rows += await self._connection.fetch(_READ_BACK, epoch, xact, seq, count)
            epoch, xact, seq = await self._connection.fetchval(_LAST_EPOCH, epoch), _NO_END, _NO_END
        if len(rows) < self.size - first:
            raise LogFault(f"events are missing: positions {first} to {self.size - 1} have only {len(rows)}")
        return [leaf_hash(leaf_of(row)) for row in rows[::-1][: end - first]]


async def position_of(
    connection: Connection, place: Position, leaf: bytes
) -> tuple[int, StoredCheckpoint] | None:
    """The position of the event at a place with this leaf, and the first checkpoint that seals it.

    None if it is not sealed yet. Raises ``LogFault`` if something else is sealed there.
    """
    upper = await checkpoint_holding(connection, place)
    if upper is None:
        return None
    lower = await checkpoint_before(connection, place)
    first = 0 if lower is None else lower.size
    if upper.size - first > _MAX_SEARCHED:
        raise LogFault(f"between {first} and {upper.size} sealed events there is no checkpoint")
    # Found by its hash: counting the rows before it would be wrong after some are dropped.
    hashes = await SealedTree(connection, upper.size, upper.place).leaf_hashes(first, upper.size)
    sealed = leaf_hash(leaf)
    if sealed not in hashes:
        raise LogFault(f"none of positions {first} to {upper.size - 1} seals this event in its current form")
    return first + hashes.index(sealed), upper


_EVENTS_AT_ONCE = 4_096
_TILES_AT_ONCE = 64
_LEAVES = """
SELECT number, hashes FROM audit_tiles WHERE level = 0 AND number >= $1 AND number < $2 ORDER BY number
"""


class Entries:
    """The stored events after a place up to another."""

    def __init__(self, connection: Connection, after: Position, until: Position) -> None:
        self._connection, self._after, self._until = connection, after, until
        self._ahead: deque[Entry] = deque()
        self._is_over = False

    async def up_to(self, place: Position, limit: int | None = None) -> list[Entry]:
        """The next events, at most ``limit``, none later than a place. They are not consumed."""
        while not self._is_over and (limit is None or len(self._ahead) < limit):
            if self._ahead and self._ahead[-1].place > place:
                break
            rows = await read_events(self._connection, self._after, _EVENTS_AT_ONCE, self._until)
            self._ahead.extend(Entry(place_of(row), leaf_of(row)) for row in rows)
            self._after, self._is_over = place_of(rows[-1]) if rows else self._after, not rows
        entries = (entry for entry in self._ahead if entry.place <= place)
        return list(islice(entries, limit))

    def consume(self, count: int) -> None:
        """Consume so many events."""
        for _ in range(count):
            self._ahead.popleft()


class KeptHashes:
    """The hashes of leaves in stored tiles, for a tree of ``size`` leaves."""

    def __init__(self, connection: Connection, size: int) -> None:
        self._connection, self._full = connection, size // TILE
        self._tiles: dict[int, bytes] = {}
        self._read_to = 0
        self.missing: list[int] = []
        """The missing tiles, each once."""

    async def of(self, first: int, end: int) -> list[bytes]:
        """The hashes from one position up to, but without, another; fewer if a tile is missing or not full yet."""
        leaves: list[bytes] = []
        self._tiles = {number: tile for number, tile in self._tiles.items() if number >= first // TILE}
        for number in range(first // TILE, min(-(-end // TILE), self._full)):
            if number >= self._read_to:
                to = min(number + _TILES_AT_ONCE, self._full)
                rows = await self._connection.fetch(_LEAVES, number, to)
                self._tiles |= {row["number"]: row["hashes"] for row in rows}
                self.missing += [tile for tile in range(number, to) if tile not in self._tiles]
                self._read_to = to
            if number not in self._tiles:
                break
            hashes = split_tile(self._tiles[number])
            leaves += hashes[max(0, first - number * TILE) : end - number * TILE]
        return leaves

    async def stored(self, level: int, number: int) -> bytes | None:
        """A stored tile."""
        stored: bytes | None = await self._connection.fetchval(_TILE, level, number)
        return stored
