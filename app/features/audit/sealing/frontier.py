"""The right edge of the sealed log's tree: what of it has not filled a tile yet, and is therefore kept nowhere.

The tree is cut into tiles of 256 hashes that lie side by side, after C2SP's tlog-tiles: on level 0 those of leaves, one
level higher those of whole tiles below. A tile is written once, when it is full.
"""

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import NamedTuple

from app.domain.merkle import HASH_BYTES, Frontier, cover

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
