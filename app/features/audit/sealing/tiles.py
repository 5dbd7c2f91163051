"""What the sealed log keeps beside its events: checkpoints and tiles, and hashes that are read out of them.

A hash that is in no full tile is worked out from the tiles below it or, on level 0, from the events. Whoever reads says
of which checkpoint: its root is signed, so what was read can be held against it.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, cast

from asyncpg import Connection, Record
from sqlalchemy.ext.asyncio import AsyncSession

from app.domain.merkle import leaf_hash
from app.features.audit.queries import Position
from app.features.audit.sealing.frontier import TILE, TILE_BITS, Edge, edge_of, split, subtree_root
from app.features.audit.sealing.leaves import leaf_of, read_back

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
