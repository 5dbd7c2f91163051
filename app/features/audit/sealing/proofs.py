"""Proofs out of the sealed log: that it holds an event, a range, and what it held before.

Proofs for whoever asks: of one event, of a range, of what the log was before.

The leaves of the sealed log as they were sealed, in their order: what can be held against checkpoints elsewhere.
"""

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from asyncpg import Connection, Record
from sqlalchemy.ext.asyncio import AsyncSession

from app.domain.errors import Invalid, NotFound, Unavailable
from app.domain.merkle import (
    Frontier,
    ProofFault,
    Stretch,
    consistency_nodes,
    cover,
    inclusion_nodes,
    leaf_hash,
    range_nodes,
    verify_inclusion,
)
from app.features.audit.queries import Position
from app.features.audit.sealing.leaves import (
    BEGINNING,
    LEAF_COLUMNS,
    LogFault,
    Sealed,
    SealedTree,
    checkpoint_of,
    connection_of,
    latest_checkpoint,
    leaf_of,
    position_of,
    read_stretch,
)
from app.http.authorization import Caller
from app.http.live import Look, News
from app.lib.event_loop import in_slices


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


_EVENT = f"SELECT epoch, xact, seq, {LEAF_COLUMNS} FROM audit_events WHERE id = $1"  # noqa: S608


@dataclass(frozen=True, slots=True)
class EventProof:
    """That the log of a checkpoint has an event (its ``leaf``) at a position."""

    position: int
    leaf: bytes
    checkpoint: Sealed
    hashes: list[bytes]


async def prove_event(connection: "Connection[Record]", id: UUID) -> EventProof:
    """Raises ``NotFound`` (``not_sealed_yet`` too) and ``Unavailable`` (``audit_log_corrupted``)."""
    row = await connection.fetchrow(_EVENT, id)
    if row is None:
        raise NotFound("There is no such audit event.")
    leaf = leaf_of(row)
    try:
        found = await position_of(connection, (row["epoch"], row["xact"], row["seq"]), leaf)
        if found is None:
            raise NotFound(
                "The event is not sealed yet. That takes a few seconds after every transaction that began before it "
                "has ended; ask again then.",
                code="not_sealed_yet",
            )
        position, checkpoint = found
        hashes = await inclusion_of(await whole_tree(connection, checkpoint), position)
    except LogFault as fault:
        raise damaged(fault) from None
    if not verify_inclusion(leaf_hash(leaf), position, checkpoint.size, hashes, checkpoint.root):
        raise damaged(LogFault(f"what is kept around position {position} is something else"))
    return EventProof(position, leaf, checkpoint, hashes)


async def prove_consistency(
    connection: "Connection[Record]", old_size: int, size: int
) -> tuple[Sealed, list[bytes]]:
    """That the log of the checkpoint of ``size`` events begins with that of ``old_size``.

    Raises ``NotFound``, ``Invalid``, ``Unavailable`` (``audit_log_corrupted``).
    """
    checkpoint = await checkpoint_named(connection, size)
    try:
        return checkpoint, await consistency_of(await whole_tree(connection, checkpoint), old_size)
    except ProofFault as fault:
        raise Invalid.field("?from", "out_of_range", f"Give a size of at most {size}: {fault}.") from None
    except LogFault as fault:
        raise damaged(fault) from None


async def prove_range(
    connection: "Connection[Record]", first: int, end: int, size: int
) -> tuple[Sealed, list[bytes]]:
    """What makes the root of the checkpoint of ``size`` events of the leaves ``first`` to ``end``.

    Raises ``NotFound``, ``Invalid``, ``Unavailable`` (``audit_log_corrupted``).
    """
    checkpoint = await checkpoint_named(connection, size)
    try:
        return checkpoint, await range_of(await whole_tree(connection, checkpoint), first, end)
    except ProofFault as fault:
        raise Invalid.field(
            "?to", "out_of_range", f"Give from and to as positions in that log: {fault}."
        ) from None
    except LogFault as fault:
        raise damaged(fault) from None


async def checkpoint_named(connection: "Connection[Record]", size: int) -> Sealed:
    """The checkpoint of so many events. Raises ``NotFound``."""
    checkpoint = await checkpoint_of(connection, size)
    if checkpoint is None:
        raise NotFound("There is no checkpoint of this size; the list has those that there are.")
    return checkpoint


def damaged(fault: LogFault) -> Unavailable:
    """The log cannot prove anything here."""
    return Unavailable(
        f"The sealed log does not hold what was sealed: {fault}. scopegate audit verify says what is wrong.",
        retry_after_s=60,
        code="audit_log_corrupted",
    )


_AT_ONCE = 2_048
_HASHED_AT_ONCE = 256
_BEFORE = """
SELECT tree_size, epoch, last_xact, last_seq FROM audit_checkpoints
WHERE tree_size <= $1 ORDER BY tree_size DESC LIMIT 1
"""


class LeafExport:
    """Goes through the leaves ``first`` to ``end``, each held against the hash that was kept of it."""

    def __init__(self, first: int, end: int, checkpoint: Sealed, before: Position) -> None:
        """Of the log of a checkpoint. ``before`` is a place before the event at position ``first`` and after all that
        come before that."""
        self.first, self.end, self.checkpoint = first, end, checkpoint
        self._position, self._place = first, before

    async def next(self, connection: "Connection[Record]") -> list[bytes]:
        """The next leaves; none when there are no more.

        Raises ``LogFault`` where an event is missing or is not what was sealed: what is handed out is what was sealed.
        """
        count = min(_AT_ONCE, self.end - self._position)
        if not count:
            return []
        stretch = await read_stretch(connection, self._place, count, self.checkpoint.place)
        if not stretch.rows:
            raise LogFault(f"the events from position {self._position} on are missing")
        hashed = await _hashed(stretch.rows)
        leaves = [leaf for leaf, _ in hashed]
        tree = SealedTree(connection, self.checkpoint.size, self.checkpoint.place)
        hashes = await tree.leaf_hashes(self._position, self._position + len(leaves))
        for start in range(0, len(leaves), _HASHED_AT_ONCE):
            part = hashed[start : start + _HASHED_AT_ONCE]
            if [each for _, each in part] != hashes[start : start + _HASHED_AT_ONCE]:
                raise LogFault(
                    f"at position {self._position + start} or soon after it is not what was sealed there"
                )
        self._position += len(leaves)
        self._place = stretch.end
        return leaves


async def leaves_between(connection: "Connection[Record]", first: int | None, end: int | None) -> LeafExport:
    """The export of what is sealed from one position up to, but without, another: from the first event that is there
    without ``first``, up to the newest that is sealed without ``end``.

    Raises ``Invalid`` for positions that are not sealed, or not there any more; ``LogFault``.
    """
    latest = await latest_checkpoint(connection)
    size = 0 if latest is None else latest.size
    to = size if end is None else end
    if latest is None or not (first or 0) < to <= size:
        raise _out_of_range(f"Give from and to within the {size} events that are sealed.")
    await whole_tree(connection, latest)
    found = await (_oldest(connection) if first is None else _seek(connection, latest, first))
    if found is None:
        raise _out_of_range("What was sealed at that position is not there: is its month past the retention?")
    start, (epoch, xact, seq) = found
    if start >= to:
        raise _out_of_range(
            f"The events before position {start} are not there any more: their months were dropped."
        )
    return LeafExport(start, to, latest, (epoch, xact, seq - 1))


async def exported_leaves(connection: "Connection[Record]", first: int | None, end: int | None) -> LeafExport:
    """``leaves_between`` for the API: raises ``Unavailable`` (``audit_log_corrupted``) in the place of ``LogFault``."""
    try:
        return await leaves_between(connection, first, end)
    except LogFault as fault:
        raise damaged(fault) from None


def export_leaves(leaves: LeafExport) -> Look:
    """What finds the leaves of an export, as parts of a file, a line each. It breaks off with ``LogFault``."""

    async def look(session: AsyncSession, _caller: Caller) -> News:
        found = await leaves.next(await connection_of(session))
        return News([b"".join(leaf + b"\n" for leaf in found)] if found else [], is_last=not found)

    return look


async def _oldest(connection: "Connection[Record]") -> tuple[int, Position] | None:
    stretch = await read_stretch(connection, BEGINNING, 1)
    found = await position_of(connection, stretch.end, leaf_of(stretch.rows[0])) if stretch.rows else None
    return None if found is None else (found[0], stretch.end)


async def _seek(
    connection: "Connection[Record]", latest: Sealed, position: int
) -> tuple[int, Position] | None:
    row = await connection.fetchrow(_BEFORE, position)
    before, after = (0, BEGINNING) if row is None else (row[0], (row[1], row[2], row[3]))
    tree = SealedTree(connection, latest.size, latest.place)
    (wanted,) = await tree.leaf_hashes(position, position + 1)
    while before <= position:
        stretch = await read_stretch(connection, after, _AT_ONCE, latest.place)
        for row, (_, each) in zip(stretch.rows, await _hashed(stretch.rows), strict=True):
            if each == wanted:
                return position, (stretch.epoch, row["xact"], row["seq"])
        if not stretch.rows:
            return None
        before, after = before + len(stretch.rows), stretch.end
    return None


async def _hashed(rows: Sequence[Record]) -> list[tuple[bytes, bytes]]:
    """The leaves of rows, each with its hash."""

    def leaves() -> Generator[None, None, list[tuple[bytes, bytes]]]:
        found = []
        for row in rows:
            leaf = leaf_of(row)
            found.append((leaf, leaf_hash(leaf)))
            yield
        return found

    return await in_slices(leaves())


def _out_of_range(detail: str) -> Invalid:
    return Invalid.field("?from", "out_of_range", detail)
