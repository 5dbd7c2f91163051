"""What a look at the sealed log reads, one after the other: checkpoints, events and kept hashes."""

from collections import deque
from collections.abc import AsyncIterator
from itertools import islice

from asyncpg import Connection, Record

from app.crypto.log_check import Entry
from app.features.audit.queries import Position
from app.features.audit.sealing.frontier import TILE, split
from app.features.audit.sealing.leaves import leaf_of, read_stretch
from app.features.audit.sealing.tiles import Sealed

_EVENTS_AT_ONCE = 4_096
_CHECKPOINTS_AT_ONCE = 1_000
_TILES_AT_ONCE = 64
_CHECKPOINTS = """
SELECT tree_size, epoch, last_xact, last_seq, root_hash, note, created_at FROM audit_checkpoints
WHERE tree_size > $1 AND tree_size <= $2 ORDER BY tree_size LIMIT $3
"""
_LEAVES = """
SELECT number, hashes FROM audit_tiles WHERE level = 0 AND number >= $1 AND number < $2 ORDER BY number
"""
_TILE = "SELECT hashes FROM audit_tiles WHERE level = $1 AND number = $2"


async def checkpoints(connection: "Connection[Record]", after: int, until: int) -> AsyncIterator[Sealed]:
    """The checkpoints of more than ``after`` events up to those of ``until``, by size."""
    while after < until:
        rows = await connection.fetch(_CHECKPOINTS, after, until, _CHECKPOINTS_AT_ONCE)
        if not rows:
            return
        for size, epoch, xact, seq, root, note, at in rows:
            yield Sealed(size, (epoch, xact, seq), root, note, at)
        after = rows[-1]["tree_size"]


class Entries:
    """The events after a place up to another, as they are in the database now."""

    def __init__(self, connection: "Connection[Record]", after: Position, until: Position | None) -> None:
        self._connection = connection
        self._after = after
        self._until = until
        self._ahead: deque[Entry] = deque()
        self._is_over = False

    async def up_to(self, place: Position | None, most: int | None = None) -> list[Entry]:
        """The next events, no more than so many, none later than a place. They stay ahead."""
        while not self._is_over and (most is None or len(self._ahead) < most):
            if place is not None and self._ahead and self._ahead[-1].place > place:
                break
            await self._read()
        found = (entry for entry in self._ahead if place is None or entry.place <= place)
        return list(islice(found, most))

    def pass_by(self, count: int) -> None:
        """Go on by so many events."""
        for _ in range(count):
            self._ahead.popleft()

    async def _read(self) -> None:
        stretch = await read_stretch(self._connection, self._after, _EVENTS_AT_ONCE, self._until)
        if not stretch.rows:
            self._is_over = True
            return
        self._ahead.extend(
            Entry((stretch.epoch, row["xact"], row["seq"]), leaf_of(row)) for row in stretch.rows
        )
        self._after = stretch.end


class KeptHashes:
    """The hashes of leaves that were kept in tiles, of a tree of ``size`` leaves."""

    def __init__(self, connection: "Connection[Record]", size: int) -> None:
        self._connection = connection
        self._full = size // TILE
        self._tiles: dict[int, bytes] = {}
        self._read_to = 0
        self._missing: list[int] = []

    async def of(self, first: int, end: int) -> list[bytes]:
        """Those from one position up to, but without, another; fewer, if a tile is missing or not full yet."""
        found: list[bytes] = []
        self._tiles = {number: tile for number, tile in self._tiles.items() if number >= first // TILE}
        for number in range(first // TILE, min(-(-end // TILE), self._full)):
            tile = await self._tile(number)
            if tile is None:
                break
            hashes = split(tile)
            found += hashes[max(0, first - number * TILE) : end - number * TILE]
        return found

    async def stored(self, level: int, number: int) -> bytes | None:
        """A tile as it is stored."""
        stored: bytes | None = await self._connection.fetchval(_TILE, level, number)
        return stored

    def take_missing(self) -> list[int]:
        """The tiles that were found missing, each once."""
        missing, self._missing = self._missing, []
        return missing

    async def _tile(self, number: int) -> bytes | None:
        if number >= self._read_to:
            to = min(number + _TILES_AT_ONCE, self._full)
            rows = await self._connection.fetch(_LEAVES, number, to)
            self._tiles |= {row["number"]: row["hashes"] for row in rows}
            self._missing += [tile for tile in range(number, to) if tile not in self._tiles]
            self._read_to = to
        return self._tiles.get(number)
