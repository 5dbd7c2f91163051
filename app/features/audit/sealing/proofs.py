"""Proofs from the sealed log (inclusion, range, consistency), and export of its leaves.

Exported leaves are as they were sealed, in order, so they can be compared with checkpoints elsewhere.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple
from uuid import UUID

from asyncpg import Record
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.connection import Connection
from app.domain import merkle
from app.domain.errors import Invalid, NotFound, Unavailable
from app.domain.merkle import LeafRange, ProofFault, leaf_hash
from app.features.audit.queries import Position
from app.features.audit.sealing import leaves
from app.features.audit.sealing.leaves import LogFault, SealedTree, StoredCheckpoint, leaf_of, place_of
from app.http.authorization import Caller
from app.http.live import Look, News
from app.lib.event_loop import map_in_slices

Proof = tuple[StoredCheckpoint, list[str]]
"""A checkpoint, and the hashes in hexadecimal that lead to its root."""


async def verified_tree(connection: Connection, checkpoint: StoredCheckpoint) -> SealedTree:
    """The tree of a checkpoint, after checking its root: hashes outside full tiles come from events, which may have
    changed. Raises ``LogFault`` when the root differs."""
    tree = SealedTree(connection, checkpoint.size, checkpoint.place)
    if (await tree.partial_tree()).root() != checkpoint.root:
        raise LogFault(f"events or tiles are not those of the checkpoint of {checkpoint.size} events")
    return tree


async def hashes_of(tree: SealedTree, nodes: Iterable[LeafRange]) -> list[bytes]:
    """The hashes of a proof, given its nodes as by ``merkle.inclusion_nodes``. Raises ``LogFault``."""
    # A node is the root of a tree of its own, whose complete subtrees are those of the large tree.
    return [
        merkle.Frontier(end - first, [await tree.subtree(*each) for each in merkle.cover(first, end)]).root()
        for first, end in nodes
    ]


_EVENT = f"SELECT epoch, xact, seq, {leaves.LEAF_COLUMNS} FROM audit_events WHERE id = $1"  # noqa: S608


class EventProof(NamedTuple):
    """An event's position and leaf, a checkpoint, and the hashes in hexadecimal that lead from the leaf to its root."""

    position: int
    leaf: bytes
    checkpoint: StoredCheckpoint
    hashes: list[str]


async def prove_event(connection: Connection, id: UUID) -> EventProof:
    """Prove that an event is in the log of a checkpoint.

    Raises ``NotFound`` (also ``not_sealed_yet``) and ``Unavailable`` (``audit_log_corrupted``).
    """
    row = await connection.fetchrow(_EVENT, id)
    if row is None:
        raise NotFound("There is no such audit event.")
    leaf = leaf_of(row)
    try:
        sealed_at = await leaves.position_of(connection, place_of(row), leaf)
        if sealed_at is None:
            raise NotFound(
                "The event is not sealed yet. That takes a few seconds after every transaction that began before it "
                "has ended; ask again then.",
                code="not_sealed_yet",
            )
        position, checkpoint = sealed_at
        hashes = await hashes_of(
            await verified_tree(connection, checkpoint), merkle.inclusion_nodes(position, checkpoint.size)
        )
    except LogFault as fault:
        raise corrupted_log(fault) from None
    if not merkle.verify_inclusion(leaf_hash(leaf), position, checkpoint.size, hashes, checkpoint.root):
        raise corrupted_log(LogFault(f"the kept hashes around position {position} differ"))
    return EventProof(position, leaf, checkpoint, [each.hex() for each in hashes])


async def prove_consistency(connection: Connection, old_size: int, size: int) -> Proof:
    """Prove that the log of the checkpoint of ``size`` events extends that of ``old_size``.

    Raises ``NotFound``, ``Invalid``, ``Unavailable`` (``audit_log_corrupted``).
    """
    advice = f"Give a size of at most {size}"
    return await _prove(connection, size, "?from", advice, partial(merkle.consistency_nodes, old_size))


async def prove_range(connection: Connection, first: int, end: int, size: int) -> Proof:
    """Prove that the leaves ``first`` to ``end`` are in the log of the checkpoint of ``size`` events.

    Raises ``NotFound``, ``Invalid``, ``Unavailable`` (``audit_log_corrupted``).
    """
    advice = "Give from and to as positions in that log"
    return await _prove(connection, size, "?to", advice, partial(merkle.range_nodes, first, end))


async def _prove(
    connection: Connection, size: int, query: str, advice: str, nodes_of: Callable[[int], Iterable[LeafRange]]
) -> Proof:
    checkpoint = await leaves.checkpoint_of(connection, size)
    try:
        tree = await verified_tree(connection, checkpoint)
        return checkpoint, [each.hex() for each in await hashes_of(tree, nodes_of(size))]
    except ProofFault as fault:
        raise Invalid.field(query, "out_of_range", f"{advice}: {fault}.") from None
    except LogFault as fault:
        raise corrupted_log(fault) from None


def corrupted_log(fault: LogFault) -> Unavailable:
    """The error for a log that cannot prove anything."""
    return Unavailable(
        f"The sealed log differs from what was sealed: {fault}. Run scopegate audit verify for details.",
        retry_after_s=60,
        code="audit_log_corrupted",
    )


_AT_ONCE = 2_048
_HASHED_AT_ONCE = 256


class LeafExport:
    """Exports the leaves ``first`` to ``end``, each compared with its kept hash."""

    def __init__(self, first: int, end: int, checkpoint: StoredCheckpoint, before: Position) -> None:
        """Export from the log of a checkpoint. ``before`` is a place between the event at ``first`` and the one before
        it."""
        self.first, self.end, self.checkpoint = first, end, checkpoint
        self._position, self._place = first, before

    async def next(self, connection: Connection) -> list[bytes]:
        """The next leaves; none at the end.

        Raises ``LogFault`` if an event is missing or was changed, so only sealed content is exported.
        """
        count = min(_AT_ONCE, self.end - self._position)
        if not count:
            return []
        rows = await leaves.read_events(connection, self._place, count, self.checkpoint.place)
        if not rows:
            raise LogFault(f"the events from position {self._position} on are missing")
        hashed = await _hash_rows(rows)
        content = [leaf for leaf, _ in hashed]
        tree = SealedTree(connection, self.checkpoint.size, self.checkpoint.place)
        hashes = await tree.leaf_hashes(self._position, self._position + len(content))
        for start in range(0, len(content), _HASHED_AT_ONCE):
            part = hashed[start : start + _HASHED_AT_ONCE]
            if [each for _, each in part] != hashes[start : start + _HASHED_AT_ONCE]:
                raise LogFault(
                    f"at position {self._position + start} or soon after it is not what was sealed there"
                )
        self._position += len(content)
        self._place = place_of(rows[-1])
        return content


async def leaves_between(connection: Connection, first: int | None, end: int | None) -> LeafExport:
    """Export the sealed leaves from one position up to, but without, another. By default from the first existing event,
    up to the newest sealed one.

    Raises ``Invalid`` for positions that are not sealed or were dropped; ``LogFault``.
    """
    latest = await leaves.latest_checkpoint(connection)
    size = 0 if latest is None else latest.size
    to = size if end is None else end
    if latest is None or not (first or 0) < to <= size:
        raise _out_of_range(f"Give from and to within the {size} events that are sealed.")
    await verified_tree(connection, latest)
    oldest = await (_oldest(connection) if first is None else _seek(connection, latest, first))
    if oldest is None:
        raise _out_of_range(
            "The event at that position is missing: check whether its month is past retention."
        )
    start, (epoch, xact, seq) = oldest
    if start >= to:
        raise _out_of_range(
            f"The events before position {start} do not exist any more: their months were dropped."
        )
    return LeafExport(start, to, latest, (epoch, xact, seq - 1))


async def export_leaves(connection: Connection, first: int | None, end: int | None) -> Look:
    """Stream ``leaves_between``, one per line. The stream stops with ``LogFault``; before it, raises ``Unavailable``
    (``audit_log_corrupted``) instead."""
    try:
        export = await leaves_between(connection, first, end)
    except LogFault as fault:
        raise corrupted_log(fault) from None

    async def look(session: AsyncSession, _caller: Caller) -> News:
        content = b"".join(leaf + b"\n" for leaf in await export.next(await leaves.connection_of(session)))
        return News([content] if content else [], is_last=not content)

    return look


async def _oldest(connection: Connection) -> tuple[int, Position] | None:
    rows = await leaves.read_events(connection, leaves.BEGINNING, 1)
    position = await leaves.position_of(connection, place_of(rows[0]), leaf_of(rows[0])) if rows else None
    return None if position is None else (position[0], place_of(rows[0]))


async def _seek(
    connection: Connection, latest: StoredCheckpoint, position: int
) -> tuple[int, Position] | None:
    lower = await leaves.checkpoint_up_to(connection, position)
    before, after = (0, leaves.BEGINNING) if lower is None else (lower.size, lower.place)
    tree = SealedTree(connection, latest.size, latest.place)
    (expected,) = await tree.leaf_hashes(position, position + 1)
    while before <= position:
        rows = await leaves.read_events(connection, after, _AT_ONCE, latest.place)
        for row, (_, each) in zip(rows, await _hash_rows(rows), strict=True):
            if each == expected:
                return position, place_of(row)
        if not rows:
            return None
        before, after = before + len(rows), place_of(rows[-1])
    return None


async def _hash_rows(rows: Sequence[Record]) -> list[tuple[bytes, bytes]]:
    """The leaves of rows, each with its hash."""
    return await map_in_slices(lambda row: (leaf := leaf_of(row), leaf_hash(leaf)), rows)


def _out_of_range(detail: str) -> Invalid:
    return Invalid.field("?from", "out_of_range", detail)
