"""The Merkle tree of RFC 9162 section 2.1: hashes, inclusion and consistency proofs.

A tree has ``size`` leaves, counted from 0. To build proofs, pass ``subtree(level, number)``, which returns the hash
over the leaves ``number << level`` to ``(number + 1) << level``, all of them in the tree. Level 0 are the leaf hashes.
Every hash is 32 bytes.

``verify_inclusion`` and ``verify_consistency`` never raise.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence

HASH_BYTES = 32
MAX_TREE_SIZE = 2**63 - 1
"""Positions and sizes fit a signed 64-bit integer, as in the database."""
EMPTY_ROOT = hashlib.sha256().digest()
"""The root of the tree without leaves."""

Subtree = Callable[[int, int], bytes]
"""By level and number, the hash of a complete subtree of ``2**level`` leaves."""
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
        return _fold(self._hashes)

    def root_with(self, size: int, beyond: Iterable[bytes]) -> bytes:
        """The root of a tree of ``size`` leaves that begins with this one. ``beyond`` are the hashes of the nodes to
        its right, as in ``range_nodes``. Raises ``ProofFault``."""
        if not self.size <= size <= MAX_TREE_SIZE:
            raise ProofFault(f"a tree of {size} leaves does not begin with one of {self.size}")
        mine, others = iter(self._hashes), iter(beyond)

        def subtree_hash(low: int, high: int) -> bytes:
            if low >= self.size:
                return _next(others, "proof")
            if high <= self.size and (high - low).bit_count() == 1:
                return _next(mine, "proof")
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


def root_of(hashes: Iterable[bytes]) -> bytes:
    """The root of the tree with these leaf hashes."""
    frontier = Frontier()
    for leaf in hashes:
        frontier.push(leaf)
    return frontier.root()


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


def root_at(size: int, subtree: Subtree) -> bytes:
    """The root of the tree of the first ``size`` leaves."""
    return node_at((0, size), subtree)


def node_at(leaves: LeafRange, subtree: Subtree) -> bytes:
    """The hash of the node over these leaves."""
    return _fold([subtree(level, number) for level, number in cover(*leaves)])


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
    _check_range(first, end, size)
    return list(_siblings(first, end, 0, size))


def inclusion_proof(position: int, size: int, subtree: Subtree) -> list[bytes]:
    """The proof for ``verify_inclusion`` that a tree has a leaf at a position. Raises ``ProofFault``."""
    return [node_at(node, subtree) for node in inclusion_nodes(position, size)]


def consistency_proof(old_size: int, new_size: int, subtree: Subtree) -> list[bytes]:
    """The proof for ``verify_consistency`` that a tree begins with an older one. Raises ``ProofFault``."""
    return [node_at(node, subtree) for node in consistency_nodes(old_size, new_size)]


def range_proof(first: int, end: int, size: int, subtree: Subtree) -> list[bytes]:
    """The hashes that ``root_of_range`` needs in addition to the leaves ``first`` to ``end``. Raises ``ProofFault``."""
    return [node_at(node, subtree) for node in range_nodes(first, end, size)]


def verify_inclusion(leaf: bytes, position: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether the tree with this root and size has this leaf hash at a position (section 2.1.3.2)."""
    try:
        nodes = inclusion_nodes(position, size)
    except ProofFault:
        return False
    if len(nodes) != len(proof) or not _are_hashes(leaf, root, *proof):
        return False
    for (_, end), sibling in zip(nodes, proof, strict=True):
        leaf = node_hash(sibling, leaf) if end <= position else node_hash(leaf, sibling)
    return leaf == root


def verify_consistency(
    old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]
) -> bool:
    """Whether the tree with the new root begins with the one with the old root (section 2.1.4.2)."""
    try:
        nodes = consistency_nodes(old_size, new_size)
    except ProofFault:
        return False
    if len(nodes) != len(proof) or not _are_hashes(old_root, new_root, *proof):
        return False
    if old_size == 0:
        return old_root == EMPTY_ROOT and (new_size > 0 or new_root == EMPTY_ROOT)
    if old_size == new_size:
        return old_root == new_root
    # The lowest node is in both trees. If the old tree is complete, it is that node, which the proof omits.
    whole = not old_size & (old_size - 1)
    old = new = old_root if whole else proof[0]
    for (_, end), sibling in list(zip(nodes, proof, strict=True))[0 if whole else 1 :]:
        if end <= old_size:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
        else:
            new = node_hash(new, sibling)
    return (old, new) == (old_root, new_root)


def root_of_range(first: int, end: int, hashes: Iterable[bytes], size: int, proof: Sequence[bytes]) -> bytes:
    """The root of a tree of ``size`` leaves, computed from the leaf hashes at ``first`` to ``end`` and their proof.

    ``hashes`` is read once and not stored. The caller compares the root with a signed one. Raises ``ProofFault`` for
    too few or too many hashes.
    """
    _check_range(first, end, size)
    if not _are_hashes(*proof):
        raise ProofFault(f"the hashes of a proof have {HASH_BYTES} bytes each")
    leaves, siblings = iter(hashes), iter(proof)

    def subtree_hash(low: int, high: int) -> bytes:
        if high <= first or low >= end:
            return _next(siblings, "proof")
        if first <= low and high <= end:
            return _root_of_next(high - low, leaves)
        middle = low + _split(high - low)
        left = subtree_hash(low, middle)
        return node_hash(left, subtree_hash(middle, high))

    root = subtree_hash(0, size)
    if next(leaves, None) is not None or next(siblings, None) is not None:
        raise ProofFault("there are more hashes than the range and its proof have")
    return root


def _root_of_next(count: int, leaves: Iterator[bytes]) -> bytes:
    frontier = Frontier()
    for _ in range(count):
        frontier.push(_next(leaves, "range"))
    return frontier.root()


def _next(hashes: Iterator[bytes], of: str) -> bytes:
    value = next(hashes, None)
    if value is None:
        raise ProofFault(f"there are fewer hashes than the {of} has")
    return value


def _siblings(first: int, end: int, low: int, high: int) -> Iterator[LeafRange]:
    """The largest nodes under one node that lie wholly outside the leaves ``first`` to ``end``."""
    if high <= first or low >= end:
        yield low, high
    elif low < first or end < high:
        middle = low + _split(high - low)
        yield from _siblings(first, end, low, middle)
        yield from _siblings(first, end, middle, high)


def _check_range(first: int, end: int, size: int) -> None:
    if not 0 <= first < end <= size <= MAX_TREE_SIZE:
        raise ProofFault(f"a tree of {size} leaves has no range from {first} to {end}")


def _split(size: int) -> int:
    """The largest power of two below a size."""
    return 1 << (size - 1).bit_length() - 1


def _fold(hashes: Sequence[bytes]) -> bytes:
    """The hash over adjacent subtrees whose sizes decrease to the right."""
    if not hashes:
        return EMPTY_ROOT
    value = hashes[-1]
    for left in hashes[-2::-1]:
        value = node_hash(left, value)
    return value


def _are_hashes(*values: bytes) -> bool:
    return all(len(value) == HASH_BYTES for value in values)
