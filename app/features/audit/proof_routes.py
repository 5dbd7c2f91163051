"""``/audit-events/checkpoints`` and proofs: let third parties verify that the audit log is unchanged."""

from typing import Annotated

from fastapi import APIRouter, Path, Query
from sqlalchemy import select
from sqlmodel import col

from app.domain.merkle import leaf_hash
from app.features.audit.schemas import (
    AuditCheckpointView,
    AuditConsistencyProof,
    AuditEventProof,
    AuditLogKey,
    AuditLogKeys,
    AuditRangeProof,
)
from app.features.audit.sealing.leaves import StoredCheckpoint, connection_of
from app.features.audit.sealing.proofs import checkpoint_named, prove_consistency, prove_event, prove_range
from app.features.audit.sealing.sealer import read_log_names
from app.http.authorization import Permission, requires
from app.http.pagination import DEFAULT_LIMIT, CursorParameter, Cursors, Limit, Page
from app.http.problems import COMMON_PROBLEMS
from app.http.runtime import CurrentRuntime
from app.http.transaction import Session, TransactionalRoute
from app.lib.ids import EventId
from app.models.audit import AuditCheckpoint

router = APIRouter(
    prefix="/api/v1/audit-events",
    tags=["audit-events"],
    route_class=TransactionalRoute,
    responses=COMMON_PROBLEMS,
    dependencies=[requires(Permission.AUDIT_READ)],
)

_MAX_SIZE = 2**63 - 1
TreeSize = Annotated[
    int, Path(ge=1, le=_MAX_SIZE, description="The size of a checkpoint: how many events it seals.")
]


@router.get("/keys", operation_id="list_audit_event_keys")
async def list_audit_event_keys(session: Session, runtime: CurrentRuntime) -> AuditLogKeys:
    """List the public keys for checkpoint signatures.

    There is one for each name that the log has had.
    """
    await session.connection()
    names = await read_log_names(await connection_of(session)) or [runtime.trail_signer.name]
    keys = [key for name in dict.fromkeys(names) for key in runtime.trail_signer.verifier_keys(name)]
    items = [AuditLogKey(vkey=str(key), signs=key == keys[0]) for key in keys]
    return AuditLogKeys(origin=names[0], items=items)


@router.get("/checkpoints", operation_id="list_audit_event_checkpoints")
async def list_audit_event_checkpoints(
    session: Session, runtime: CurrentRuntime, limit: Limit = DEFAULT_LIMIT, cursor: CursorParameter = None
) -> Page[AuditCheckpointView]:
    """List checkpoints of the sealed audit log, newest first."""
    cursors = Cursors(runtime.peppers.derive("cursors"), "list_audit_checkpoints", {})
    position = cursors.read(cursor)
    statement = select(AuditCheckpoint).order_by(col(AuditCheckpoint.tree_size).desc()).limit(limit + 1)
    if position is not None:
        statement = statement.where(col(AuditCheckpoint.tree_size) < position[0])
    rows = list((await session.execute(statement)).scalars())
    page_rows = rows[:limit]
    items = [
        _view(
            StoredCheckpoint(
                row.tree_size,
                (row.epoch, row.last_xact, row.last_seq),
                row.root_hash,
                row.note,
                row.created_at,
            )
        )
        for row in page_rows
    ]
    return Page(
        items=items, next_cursor=cursors.write([page_rows[-1].tree_size]) if len(rows) > limit else None
    )


@router.get("/checkpoints/{tree_size}", operation_id="get_audit_event_checkpoint")
async def get_audit_event_checkpoint(session: Session, tree_size: TreeSize) -> AuditCheckpointView:
    """Read one checkpoint."""
    return _view(await checkpoint_named(await connection_of(session), tree_size))


@router.get("/checkpoints/{tree_size}/consistency", operation_id="get_audit_event_consistency")
async def get_audit_event_consistency(
    session: Session,
    tree_size: TreeSize,
    from_: Annotated[int, Query(alias="from", ge=0, le=_MAX_SIZE, description="The size of the older log.")],
) -> AuditConsistencyProof:
    """Read the consistency proof between a checkpoint and an older one."""
    checkpoint, hashes = await prove_consistency(await connection_of(session), from_, tree_size)
    return AuditConsistencyProof(
        old_size=from_, tree_size=tree_size, checkpoint=checkpoint.note, hashes=_hex(hashes)
    )


@router.get("/checkpoints/{tree_size}/range", operation_id="get_audit_event_range")
async def get_audit_event_range(
    session: Session,
    tree_size: TreeSize,
    from_: Annotated[int, Query(alias="from", ge=0, le=_MAX_SIZE, description="The first position.")],
    to: Annotated[int, Query(ge=1, le=_MAX_SIZE, description="The position after the last one.")],
) -> AuditRangeProof:
    """Read the proof of a range of exported leaves (`format=leaves` of the export)."""
    checkpoint, hashes = await prove_range(await connection_of(session), from_, to, tree_size)
    content = {"from": from_, "to": to, "checkpoint": checkpoint.note, "hashes": _hex(hashes)}
    return AuditRangeProof.model_validate(content)


@router.get("/{event_id}/proof", operation_id="get_audit_event_proof")
async def get_audit_event_proof(session: Session, event_id: EventId) -> AuditEventProof:
    """Read the inclusion proof of an event; 404 `not_sealed_yet` in its first seconds."""
    proof = await prove_event(await connection_of(session), event_id)
    return AuditEventProof(
        event_id=event_id,
        position=proof.position,
        leaf=proof.leaf.decode(),
        leaf_hash=leaf_hash(proof.leaf).hex(),
        tree_size=proof.checkpoint.size,
        checkpoint=proof.checkpoint.note,
        hashes=_hex(proof.hashes),
    )


def _view(checkpoint: StoredCheckpoint) -> AuditCheckpointView:
    return AuditCheckpointView(
        tree_size=checkpoint.size,
        epoch=checkpoint.place[0],
        root_hash=checkpoint.root.hex(),
        note=checkpoint.note,
        created_at=checkpoint.created_at,
    )


def _hex(hashes: list[bytes]) -> list[str]:
    return [each.hex() for each in hashes]
