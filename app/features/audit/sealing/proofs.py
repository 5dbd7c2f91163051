"""Proofs out of the sealed log: that it holds an event, a range, and what it held before."""

from collections.abc import Iterable

from asyncpg import Connection, Record

from app.domain.merkle import (
    Frontier,
    Stretch,
    consistency_nodes,
    cover,
    inclusion_nodes,
    range_nodes,
)
from app.features.audit.sealing.tiles import LogFault, Sealed, SealedTree


async def whole_tree(connection: "Connection[Record]", checkpoint: Sealed) -> SealedTree:
    """The tree of a checkpoint, which has its root: what is in no full tile yet is made of events, whatever they say by
    now. Raises ``LogFault`` where it has not."""
    tree = SealedTree(connection, checkpoint.size, checkpoint.place)
    if (await tree.edge()).root() != checkpoint.root:
        raise LogFault(f"events or tiles are not those of the checkpoint of {checkpoint.size} events")
    return tree


async def inclusion_of(tree: SealedTree, position: int) -> list[bytes]:
    """The hashes that prove to ``merkle.verify_inclusion`` that the tree has a leaf.

    Raises ``ProofFault`` for a position that it has not, ``LogFault``.
    """
    return await _hashes(tree, inclusion_nodes(position, tree.size))


async def consistency_of(tree: SealedTree, old_size: int) -> list[bytes]:
    """The hashes that prove to ``merkle.verify_consistency`` that the tree begins with one of that size.

    Raises ``ProofFault`` for a size that it has not, ``LogFault``.
    """
    return await _hashes(tree, consistency_nodes(old_size, tree.size))


async def range_of(tree: SealedTree, first: int, end: int) -> list[bytes]:
    """The hashes that ``merkle.root_of_range`` needs beside those of the leaves.

    Raises ``ProofFault`` for a range that it has not, ``LogFault``.
    """
    return await _hashes(tree, range_nodes(first, end, tree.size))


async def _hashes(tree: SealedTree, nodes: Iterable[Stretch]) -> list[bytes]:
    # A node is the root of a tree of its own, whose complete subtrees are those of the large tree.
    return [
        Frontier(end - first, [await tree.subtree(*each) for each in cover(first, end)]).root()
        for first, end in nodes
    ]
