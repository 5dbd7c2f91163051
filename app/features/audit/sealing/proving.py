"""Proofs for whoever asks: of one event, of a range, of what the log was before."""

from dataclasses import dataclass
from uuid import UUID

from asyncpg import Connection, Record

from app.domain.errors import Invalid, NotFound, Unavailable
from app.domain.merkle import ProofFault, leaf_hash, verify_inclusion
from app.features.audit.sealing.leaves import LEAF_COLUMNS, leaf_of
from app.features.audit.sealing.proofs import consistency_of, inclusion_of, range_of, whole_tree
from app.features.audit.sealing.tiles import LogFault, Sealed, checkpoint_of, position_of

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
