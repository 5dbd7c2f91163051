"""The verifying side of the proofs of ``app.domain.merkle``, as clients implement it, and roots from all leaves."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from app.domain.merkle import (
    EMPTY_ROOT,
    HASH_BYTES,
    Frontier,
    LeafRange,
    ProofFault,
    consistency_nodes,
    cover,
    node_hash,
    range_nodes,
)

Subtree = Callable[[int, int], bytes]
"""By level and number, the hash of a complete subtree of ``2**level`` leaves."""


def root_of(hashes: Iterable[bytes]) -> bytes:
    """The root of the tree with these leaf hashes."""
    frontier = Frontier()
    for leaf in hashes:
        frontier.push(leaf)
    return frontier.root()


def hashes_at(nodes: Iterable[LeafRange], subtree: Subtree) -> list[bytes]:
    """The hashes of the nodes over these leaves, from those of complete subtrees."""
    return [_fold([subtree(level, number) for level, number in cover(*leaves)]) for leaves in nodes]


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
    range_nodes(first, end, size)
    if not _are_hashes(*proof):
        raise ProofFault(f"the hashes of a proof have {HASH_BYTES} bytes each")
    leaves, siblings = iter(hashes), iter(proof)

    def subtree_hash(low: int, high: int) -> bytes:
        if high <= first or low >= end:
            return _next(siblings)
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
        frontier.push(_next(leaves))
    return frontier.root()


def _next(hashes: Iterator[bytes]) -> bytes:
    value = next(hashes, None)
    if value is None:
        raise ProofFault("there are fewer hashes than the proof has")
    return value


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
