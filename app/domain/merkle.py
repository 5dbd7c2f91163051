"""The Merkle tree of RFC 9162 section 2.1: hashes, inclusion and consistency proofs.

A tree has ``size`` leaves, counted from 0. A complete subtree (level, number) has the leaves ``number << level`` to
``(number + 1) << level``; those of level 0 are the leaf hashes. Every hash is 32 bytes.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence

HASH_BYTES = 32
MAX_TREE_SIZE = 2**63 - 1
"""Positions and sizes fit a signed 64-bit integer, as in the database."""
EMPTY_ROOT = hashlib.sha256().digest()
"""The root of the tree without leaves."""

LeafRange = tuple[int, int]
"""The leaves from the first position up to, but not including, the second."""


class ProofFault(ValueError):
    """The sizes of a proof or of its claim do not fit. The message says what is wrong."""


def leaf_hash(data: bytes) -> bytes:
    """The hash of a leaf."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of two adjacent subtrees together."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Frontier:
    """The right edge of a growing tree: one hash for each bit that is set in its size."""

    __slots__ = ("_hashes", "size")

    def __init__(self, size: int = 0, hashes: Iterable[bytes] = ()) -> None:
        """An empty tree, or one of ``size`` leaves with these hashes of the subtrees of ``cover(0, size)``. Raises
        ``ProofFault``."""
        self.size = size
        self._hashes = list(hashes)
        if not 0 <= size <= MAX_TREE_SIZE or len(self._hashes) != size.bit_count():
            raise ProofFault(f"{len(self._hashes)} hashes are not the edge of a tree of {size} leaves")

    def push(self, leaf: bytes) -> None:
        """Add the hash of the next leaf."""
        self.size += 1
        full = self.size
        while not full & 1:
            leaf = node_hash(self._hashes.pop(), leaf)
            full >>= 1
        self._hashes.append(leaf)

    def root(self) -> bytes:
        """The root of the present tree."""
        if not self._hashes:
            return EMPTY_ROOT
        # The sizes of the subtrees decrease to the right.
        value = self._hashes[-1]
        for left in self._hashes[-2::-1]:
            value = node_hash(left, value)
        return value

    def root_with(self, size: int, beyond: Iterable[bytes]) -> bytes:
        """The root of a tree of ``size`` leaves that begins with this one. ``beyond`` are the hashes of the nodes to
        its right, as in ``range_nodes``. Raises ``ProofFault``."""
        if not self.size <= size <= MAX_TREE_SIZE:
            raise ProofFault(f"a tree of {size} leaves does not begin with one of {self.size}")
        mine, others = iter(self._hashes), iter(beyond)

        def subtree_hash(low: int, high: int) -> bytes:
            if low >= self.size:
                return _next(others)
            if high <= self.size and (high - low).bit_count() == 1:
                return _next(mine)
            middle = low + _split(high - low)
            left = subtree_hash(low, middle)
            return node_hash(left, subtree_hash(middle, high))

        root = subtree_hash(0, size) if size else EMPTY_ROOT
        if next(others, None) is not None:
            raise ProofFault("there are more hashes than the proof has")
        return root

    def hashes(self) -> tuple[bytes, ...]:
        """The hashes of the complete subtrees at the edge, left to right, from which a frontier can be restored."""
        return tuple(self._hashes)


def cover(first: int, end: int) -> list[tuple[int, int]]:
    """The fewest complete subtrees that cover the leaves ``first`` to ``end``, left to right, as (level, number)."""
    subtrees = []
    while first < end:
        level = (end - first).bit_length() - 1
        if first:
            level = min(level, (first & -first).bit_length() - 1)
        subtrees.append((level, first >> level))
        first += 1 << level
    return subtrees


def inclusion_nodes(position: int, size: int) -> list[LeafRange]:
    """The nodes of the proof that a tree has a leaf (section 2.1.3.1), from the leaf up. Raises ``ProofFault``."""
    if not 0 <= position < size <= MAX_TREE_SIZE:
        raise ProofFault(f"a tree of {size} leaves has none at position {position}")
    nodes = []
    low, high = 0, size
    while high - low > 1:
        middle = low + _split(high - low)
        if position < middle:
            nodes.append((middle, high))
            high = middle
        else:
            nodes.append((low, middle))
            low = middle
    return nodes[::-1]


def consistency_nodes(old_size: int, new_size: int) -> list[LeafRange]:
    """The nodes of the proof that a tree begins with another (section 2.1.4.1), from the leaves up. Raises
    ``ProofFault``.

    The proof is empty for an empty old tree and for equal sizes.
    """
    if not 0 <= old_size <= new_size <= MAX_TREE_SIZE:
        raise ProofFault(f"a tree of {new_size} leaves does not begin with one of {old_size}")
    if old_size in {0, new_size}:
        return []
    nodes = []
    low, high = 0, new_size
    while high != old_size:
        middle = low + _split(high - low)
        if old_size <= middle:
            nodes.append((middle, high))
            high = middle
        else:
            nodes.append((low, middle))
            low = middle
    if low:
        nodes.append((low, high))
    return nodes[::-1]


def range_nodes(first: int, end: int, size: int) -> list[LeafRange]:
    """The nodes that give the root together with the leaves ``first`` to ``end``: the largest ones outside that range,
    left to right. Raises ``ProofFault``."""
    if not 0 <= first < end <= size <= MAX_TREE_SIZE:
        raise ProofFault(f"a tree of {size} leaves has no range from {first} to {end}")
    return list(_siblings(first, end, 0, size))


def verify_inclusion(leaf: bytes, position: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether the tree with this root and size has this leaf hash at a position (section 2.1.3.2). Never raises."""
    try:
        nodes = inclusion_nodes(position, size)
    except ProofFault:
        return False
    if len(nodes) != len(proof) or any(len(value) != HASH_BYTES for value in (leaf, root, *proof)):
        return False
    for (_, end), sibling in zip(nodes, proof, strict=True):
        leaf = node_hash(sibling, leaf) if end <= position else node_hash(leaf, sibling)
    return leaf == root


def _next(hashes: Iterator[bytes]) -> bytes:
    value = next(hashes, None)
    if value is None:
        raise ProofFault("there are fewer hashes than the proof has")
    return value


def _siblings(first: int, end: int, low: int, high: int) -> Iterator[LeafRange]:
    """The largest nodes under one node that lie wholly outside the leaves ``first`` to ``end``."""
    if high <= first or low >= end:
        yield low, high
    elif low < first or end < high:
        middle = low + _split(high - low)
        yield from _siblings(first, end, low, middle)
        yield from _siblings(first, end, middle, high)


def _split(size: int) -> int:
    """The largest power of two below a size."""
    return 1 << (size - 1).bit_length() - 1
