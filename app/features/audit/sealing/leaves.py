"""Leaves of the sealed log: what of an event is hashed, in the one form that it has.

A leaf is the stored row as JSON on one line of UTF-8. Keys are the names of columns, sorted; columns that are NULL are
left out, so that a column that comes later changes no leaf that was sealed before it. UUIDs are hyphenated and in lower
case, times are RFC 3339 in UTC with six digits of a second and ``Z``, bytes are hexadecimal in lower case, integers are
exact. There is no white space between tokens, and strings have only the escapes that JSON requires. ``changes`` is
written alike, its keys sorted by code point and its numbers digit for digit as they are stored.

The database writes all but ``changes``: of a worker's time a row then costs a fraction of what it would cost in Python.

The right edge of the sealed log's tree: what of it has not filled a tile yet, and is therefore kept nowhere.

The tree is cut into tiles of 256 hashes that lie side by side, after C2SP's tlog-tiles: on level 0 those of leaves, one
level higher those of whole tiles below. A tile is written once, when it is full.

What the sealed log keeps beside its events: checkpoints and tiles, and hashes that are read out of them.

A hash that is in no full tile is worked out from the tiles below it or, on level 0, from the events. Whoever reads says
of which checkpoint: its root is signed, so what was read can be held against it.
"""

import asyncio
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any, NamedTuple, cast

from asyncpg import Connection, Record
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import SQLModel

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
"""The first of the keys, which every event has: what follows it begins with a comma."""
_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]|[^\s\[\]{}",:]+')


def _part(name: str, type: str) -> str:
    """SQL for one column of a leaf; NULL where the column is."""
    before = "{" if name == _FIRST else ","
    return f"""'{before}"{name}":' || {_FORMS[type].format(name)}"""


def _columns() -> str:
    table, dialect = SQLModel.metadata.tables[str(AuditEvent.__tablename__)], postgresql.dialect()  # type: ignore[no-untyped-call]
    types = {column.name: column.type.compile(dialect) for column in table.columns}
    head = ", ".join(_part(name, types[name]) for name in sorted(types) if name < _CHANGES)
    tail = ", ".join(_part(name, types[name]) for name in sorted(types) if name > _CHANGES)
    return f"concat({head}) AS head, {_CHANGES}::text AS changes, concat({tail}, '}}') AS tail"


LEAF_COLUMNS = _columns()
"""SQL that selects of ``audit_events`` what ``leaf_of`` takes: columns ``head``, ``changes`` and ``tail``."""


_NO_END = 2**63 - 1

# The bound is a value and not a condition of its own, so that the index ends there: nothing beyond it is looked at.
# Only the newest epoch has transactions that are still open.
# mutation: leaves_read
_READ = f"""
SELECT xact, seq, {LEAF_COLUMNS}
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

# An epoch that nobody has opened yet holds nothing but what somebody made up, and nothing comes after the last of them:
# whoever followed it there would never come back.
_NEXT_EPOCH = """
SELECT min(epoch) FROM audit_events
WHERE epoch > $1 AND epoch <= (SELECT coalesce(scopegate_epoch(), max(epoch)) FROM log_epochs)
"""
_LAST_EPOCH = "SELECT max(epoch) FROM audit_events WHERE epoch < $1"


class Stretch(NamedTuple):
    """Rows of one epoch that follow each other in the order of commits, each with ``xact``, ``seq`` and what
    ``leaf_of`` takes."""

    epoch: int
    rows: list[Record]

    @property
    def end(self) -> Position:
        """The place of the last row."""
        last = self.rows[-1]
        return (self.epoch, last["xact"], last["seq"])


def leaf_of(row: Mapping[str, Any] | Record) -> bytes:
    """The leaf of a row that was read with ``LEAF_COLUMNS``."""
    changes = row[_CHANGES]
    if changes is None:
        return f"{row['head']}{row['tail']}".encode()
    return f'{row["head"]},"{_CHANGES}":{_sorted_json(changes)}{row["tail"]}'.encode()


async def read_stretch(
    connection: "Connection[Record]", after: Position, rows: int, until: Position | None = None
) -> Stretch:
    """At most ``rows`` rows that come next in the order of commits, none later than ``until``; none when there is
    nothing more.

    Nothing at or above the oldest transaction that still writes is read: it may yet commit a row that comes before.
    Older epochs are read whole.
    """
    epoch, xact, seq = after
    while True:
        last = (_NO_END, _NO_END) if until is None or epoch < until[0] else until[1:]
        found = await connection.fetch(_READ, epoch, xact, seq, *last, rows)
        if found or (until is not None and epoch >= until[0]):
            return Stretch(epoch, found)
        following = await connection.fetchval(_NEXT_EPOCH, epoch)
        if following is None or (until is not None and following > until[0]):
            return Stretch(epoch, [])
        epoch, xact, seq = following, -1, -1


async def read_back(connection: "Connection[Record]", place: Position, rows: int) -> list[Record]:
    """At most ``rows`` rows that end with the one at a place, in the order of commits, of whichever epochs."""
    epoch: int | None
    epoch, xact, seq = place
    found: list[Record] = []
    while epoch is not None and len(found) < rows:
        found += await connection.fetch(_READ_BACK, epoch, xact, seq, rows - len(found))
        epoch, xact, seq = await connection.fetchval(_LAST_EPOCH, epoch), _NO_END, _NO_END
    return found[::-1]


def _sorted_json(text: str) -> str:
    """JSON that PostgreSQL wrote, with its keys sorted and without white space.

    Numbers stay the digits that they are, and however deep it is nested, it is read: whatever somebody has put into a
    row, it can be sealed.
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
"""Hashes in a tile."""
TILE_BITS = TILE.bit_length() - 1


class Tile(NamedTuple):
    """A full tile: its level, its number on that level from the left, and its hashes one after the other."""

    level: int
    number: int
    hashes: bytes


class Edge:
    """A tree that grows at its right edge, of which nothing is kept but the tiles that are not full."""

    __slots__ = ("_levels", "size")

    def __init__(self, size: int = 0, levels: Iterable[Iterable[bytes]] = ()) -> None:
        """Of ``size`` leaves, with the hashes of the last tile of each level that is not full, level 0 first.

        Raises ``ValueError`` where they are not as many as such a tree has.
        """
        self.size = size
        self._levels = [list(level) for level in levels]
        if [len(level) for level in self._levels] != [end - first for first, end in edge_of(size)]:
            raise ValueError(f"these hashes are not the edge of a tree of {size} leaves")

    def extend(self, leaves: Sequence[bytes]) -> list[Tile]:
        """Add the hashes of the next leaves; the tiles that are full with them, those below first."""
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
        """The root of the tree as it is now (RFC 9162 section 2.1.1)."""
        return Frontier(self.size, self._cover()).root()

    def _cover(self) -> Iterable[bytes]:
        for hashes in reversed(self._levels):
            for level, number in cover(0, len(hashes)):
                yield subtree_root(hashes[number << level : (number + 1) << level])


def subtree_root(hashes: Sequence[bytes]) -> bytes:
    """The hash over two, four, eight ... hashes that lie side by side, or one itself."""
    while len(hashes) > 1:
        # As ``merkle.node_hash`` does, of which the calls alone would cost half as much again.
        hashes = [
            sha256(b"\x01" + left + right).digest()
            for left, right in zip(hashes[::2], hashes[1::2], strict=True)
        ]
    return hashes[0]


def edge_of(size: int) -> list[tuple[int, int]]:
    """Of each level, level 0 first, from which hash to which (without it) its last tile goes that is not full."""
    found = []
    while size:
        found.append((size - size % TILE, size))
        size >>= TILE_BITS
    return found


def split(hashes: bytes) -> Sequence[bytes]:
    """The hashes of a tile."""
    return [hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)]


BEGINNING: Position = (0, 0, 0)
"""Before every event: where a log ends that has none."""


MOST_LEAVES = 4_096
"""Leaves that a checkpoint adds at most: to find where an event is sealed, so many have to be looked through."""
PREVIOUS = "previous "
"""Before the size of the checkpoint before, on the fourth line of a checkpoint."""
_WIDEST = 65_536
"""Leaves that are looked through for an event: many times as many as the sealer leaves between two checkpoints."""
_CHECKPOINTS = (
    "SELECT tree_size, epoch, last_xact, last_seq, root_hash, note, created_at FROM audit_checkpoints"
)
_LATEST = f"{_CHECKPOINTS} ORDER BY tree_size DESC LIMIT 1"
_OF_SIZE = f"{_CHECKPOINTS} WHERE tree_size = $1"
_PLACE = "(epoch, last_xact, last_seq)"
_BEFORE = (
    f"{_CHECKPOINTS} WHERE {_PLACE} < ($1, $2, $3) ORDER BY epoch DESC, last_xact DESC, last_seq DESC LIMIT 1"
)
_HOLDING = f"{_CHECKPOINTS} WHERE {_PLACE} >= ($1, $2, $3) ORDER BY epoch, last_xact, last_seq LIMIT 1"
_BELOW = f"{_CHECKPOINTS} WHERE tree_size < $1 ORDER BY tree_size DESC LIMIT 1"
_TILE = "SELECT hashes FROM audit_tiles WHERE level = $1 AND number = $2"


class LogFault(Exception):
    """The sealed log does not hold what it says that it holds. The message says what is wrong, in words for people."""


class Sealed(NamedTuple):
    """A stored checkpoint: how many leaves it seals, where the last of these stands, the root over them, and the signed
    note that says so."""

    size: int
    place: Position
    root: bytes
    note: str
    created_at: datetime


def previous_size(note: str) -> int | None:
    """The size of the checkpoint before, as the text of one says; None for one of older code."""
    for line in note.partition("\n\n")[0].split("\n")[3:]:
        size = line.removeprefix(PREVIOUS)
        if size != line and size.isdecimal():
            return int(size)
    return None


async def connection_of(session: AsyncSession) -> "Connection[Record]":
    """The driver's connection beneath a session, to read with what is here. It is in the session's transaction once the
    session has begun one by a statement."""
    raw = await (await session.connection()).get_raw_connection()
    return cast("Connection[Record]", raw.driver_connection)


async def latest_checkpoint(connection: "Connection[Record]") -> Sealed | None:
    """How far the log is sealed; None where nothing is."""
    return _sealed(await connection.fetchrow(_LATEST))


async def checkpoint_below(connection: "Connection[Record]", size: int) -> Sealed | None:
    """The largest checkpoint that is smaller than a size."""
    return _sealed(await connection.fetchrow(_BELOW, size))


async def checkpoint_of(connection: "Connection[Record]", size: int) -> Sealed | None:
    """The checkpoint of just this size."""
    return _sealed(await connection.fetchrow(_OF_SIZE, size))


async def checkpoint_before(connection: "Connection[Record]", place: Position) -> Sealed | None:
    """The last checkpoint whose leaves all stand before a place."""
    return _sealed(await connection.fetchrow(_BEFORE, *place))


async def checkpoint_holding(connection: "Connection[Record]", place: Position) -> Sealed | None:
    """The first checkpoint that reaches a place; None where that is not sealed yet."""
    return _sealed(await connection.fetchrow(_HOLDING, *place))


def _sealed(row: Record | None) -> Sealed | None:
    if row is None:
        return None
    size, *place, root, note, at = row
    return Sealed(size, tuple(place), root, note, at)


class SealedTree:
    """The tree of one checkpoint, as the database has it. Other trees that it begins with can be read out of it, too.

    Its methods raise ``LogFault`` where a tile or an event is missing. They hand the loop on often: one may have tens
    of thousands of hashes to work out.
    """

    def __init__(self, connection: "Connection[Record]", size: int, place: Position) -> None:
        """Of ``size`` leaves, the last of which stands at ``place``."""
        self._connection = connection
        self.size = size
        self._place = place

    async def subtree(self, level: int, number: int) -> bytes:
        """The hash over the leaves ``number << level`` to ``(number + 1) << level``, all of which are in the tree."""
        tile_level, above = divmod(level, TILE_BITS)
        return subtree_root(await self._hashes(tile_level, number << above, (number + 1) << above))

    async def leaf_hashes(self, first: int, end: int) -> list[bytes]:
        """Hashes of the leaves from position ``first`` up to, but without, ``end``."""
        return await self._hashes(0, first, end)

    async def edge(self) -> Edge:
        """The right edge, to let the tree grow from."""
        levels = [
            await self._hashes(level, first, end) for level, (first, end) in enumerate(edge_of(self.size))
        ]
        return Edge(self.size, levels)

    async def _hashes(self, level: int, first: int, end: int) -> list[bytes]:
        if not 0 <= first <= end <= self.size >> TILE_BITS * level:
            raise ValueError("there are no such hashes in a tree of this size")
        found: list[bytes] = []
        while first < end:
            number, begin = divmod(first, TILE)
            stop = min(end, (number + 1) * TILE)
            tile = await self._tile(level, number)
            if tile is not None:
                found += tile[begin : begin + stop - first]
            elif level:
                found += [await self._tile_root(level - 1, below) for below in range(first, stop)]
            else:
                found += await self._hashed(first, stop)
            first = stop
        return found

    async def _tile(self, level: int, number: int) -> Sequence[bytes] | None:
        """A tile that is full; None for the last one of a level, which has no row until it is."""
        hashes = await self._connection.fetchval(_TILE, level, number)
        if hashes is not None:
            return split(hashes)
        if (number + 1) * TILE <= self.size >> TILE_BITS * level:
            raise LogFault(f"tile {number} of level {level} is missing")
        return None

    async def _tile_root(self, level: int, number: int) -> bytes:
        hashes = await self._hashes(level, number * TILE, (number + 1) * TILE)
        await asyncio.sleep(0)
        return subtree_root(hashes)

    async def _hashed(self, first: int, end: int) -> list[bytes]:
        rows = await read_back(self._connection, self._place, self.size - first)
        if len(rows) < self.size - first:
            raise LogFault(f"events are missing: positions {first} to {self.size - 1} have only {len(rows)}")
        return [leaf_hash(leaf_of(row)) for row in rows[: end - first]]


async def position_of(
    connection: "Connection[Record]", place: Position, leaf: bytes
) -> tuple[int, Sealed] | None:
    """The position of the event at a place whose leaf this is, and the first checkpoint that seals it.

    None where it is not sealed yet. Raises ``LogFault`` where what is sealed there is not this event.
    """
    upper = await checkpoint_holding(connection, place)
    if upper is None:
        return None
    lower = await checkpoint_before(connection, place)
    first = 0 if lower is None else lower.size
    if upper.size - first > _WIDEST:
        raise LogFault(f"between {first} and {upper.size} sealed events there is no checkpoint")
    # By its hash: counting the rows in between would be wrong once some of these have been dropped.
    hashes = await SealedTree(connection, upper.size, upper.place).leaf_hashes(first, upper.size)
    sealed = leaf_hash(leaf)
    if sealed not in hashes:
        raise LogFault(f"none of positions {first} to {upper.size - 1} seals this event as it is now")
    return first + hashes.index(sealed), upper
