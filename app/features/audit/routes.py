"""REST routes of the audit log: events by pages, counts, exports and streams, and checkpoints with proofs.

Checkpoints and proofs let third parties verify that the log is unchanged.
"""

from typing import Annotated, Any

from fastapi import Header, Path, Query, Request
from starlette.responses import Response, StreamingResponse

from app.db.change import Change
from app.db.clock import transaction_time
from app.domain.merkle import leaf_hash
from app.features.audit import reading, schemas
from app.features.audit.queries import present
from app.features.audit.reading import check_since, export, follow, headers_of, position_of
from app.features.audit.sealing import leaves
from app.features.audit.sealing.leaves import StoredCheckpoint, connection_of
from app.features.audit.sealing.proofs import export_leaves, prove_consistency, prove_event, prove_range
from app.features.audit.sealing.sealer import read_log_names
from app.features.audit.stats import count_hours
from app.http.authorization import Caller, Permission, changes, requires
from app.http.live import MEDIA_TYPE, Watch
from app.http.pagination import DEFAULT_LIMIT, CursorParameter, Cursors, Limit, Page
from app.http.runtime import CurrentRuntime
from app.http.transaction import Session, api_router
from app.lib.ids import EventId

router = api_router("audit-events")
CanRead = Annotated[Caller, requires(Permission.AUDIT_READ)]
_READS = [requires(Permission.AUDIT_READ)]
_MAX_SIZE = 2**63 - 1
_TEXT: dict[str, Any] = {"schema": {"type": "string"}}
TreeSize = Annotated[
    int, Path(ge=1, le=_MAX_SIZE, description="The size of a checkpoint: how many events it seals.")
]
LastEventId = Annotated[
    str | None,
    Header(alias="Last-Event-ID", max_length=2000, description="The `id` of the last received event."),
]
# Reading the arguments of a call is recorded like a change.
CanReadArguments = Annotated[Change, changes(Permission.ARGUMENTS_READ)]


@router.get("/keys", dependencies=_READS)
async def list_audit_event_keys(session: Session, runtime: CurrentRuntime) -> schemas.AuditLogKeys:
    """List the public keys for checkpoint signatures.

    There is one for each name that the log has had.
    """
    await session.connection()
    names = await read_log_names(await connection_of(session)) or [runtime.log_signer.name]
    keys = [key for name in dict.fromkeys(names) for key in runtime.log_signer.verifier_keys(name)]
    items = [schemas.AuditLogKey(vkey=str(key), signs=key == keys[0]) for key in keys]
    return schemas.AuditLogKeys(origin=names[0], items=items)


@router.get("/checkpoints", dependencies=_READS)
async def list_audit_event_checkpoints(
    session: Session, runtime: CurrentRuntime, limit: Limit = DEFAULT_LIMIT, cursor: CursorParameter = None
) -> Page[schemas.AuditCheckpointView]:
    """List checkpoints of the sealed audit log, newest first."""
    cursors = Cursors(runtime.peppers.derive("cursors"), "list_audit_checkpoints", {})
    position = cursors.read(cursor)
    before = _MAX_SIZE if position is None else position[0]
    found = await leaves.newest_checkpoints(await connection_of(session), before, limit + 1)
    page = found[:limit]
    next_cursor = cursors.write([page[-1].size]) if len(found) > limit else None
    return Page(items=[_view(each) for each in page], next_cursor=next_cursor)


@router.get("/checkpoints/{tree_size}", dependencies=_READS)
async def get_audit_event_checkpoint(session: Session, tree_size: TreeSize) -> schemas.AuditCheckpointView:
    """Read one checkpoint."""
    return _view(await leaves.checkpoint_of(await connection_of(session), tree_size))


@router.get("/checkpoints/{tree_size}/consistency", dependencies=_READS)
async def get_audit_event_consistency(
    session: Session,
    tree_size: TreeSize,
    from_: Annotated[int, Query(alias="from", ge=0, le=_MAX_SIZE, description="The size of the older log.")],
) -> schemas.AuditConsistencyProof:
    """Read the consistency proof between a checkpoint and an older one."""
    checkpoint, hashes = await prove_consistency(await connection_of(session), from_, tree_size)
    return schemas.AuditConsistencyProof(
        old_size=from_, tree_size=tree_size, checkpoint=checkpoint.note, hashes=hashes
    )


@router.get("/checkpoints/{tree_size}/range", dependencies=_READS)
async def get_audit_event_range(
    session: Session,
    tree_size: TreeSize,
    from_: Annotated[int, Query(alias="from", ge=0, le=_MAX_SIZE, description="The first position.")],
    to: Annotated[int, Query(ge=1, le=_MAX_SIZE, description="The position after the last one.")],
) -> schemas.AuditRangeProof:
    """Read the proof of a range of exported leaves (`format=leaves` of the export)."""
    checkpoint, hashes = await prove_range(await connection_of(session), from_, to, tree_size)
    content = {"from": from_, "to": to, "checkpoint": checkpoint.note, "hashes": hashes}
    return schemas.AuditRangeProof.model_validate(content)


@router.get("/{event_id}/proof", dependencies=_READS)
async def get_audit_event_proof(session: Session, event_id: EventId) -> schemas.AuditEventProof:
    """Read the inclusion proof of an event; 404 `not_sealed_yet` in its first seconds."""
    proof = await prove_event(await connection_of(session), event_id)
    return schemas.AuditEventProof(
        event_id=event_id,
        position=proof.position,
        leaf=proof.leaf.decode(),
        leaf_hash=leaf_hash(proof.leaf).hex(),
        tree_size=proof.checkpoint.size,
        checkpoint=proof.checkpoint.note,
        hashes=proof.hashes,
    )


@router.get("/stats", dependencies=_READS, operation_id="get_audit_event_stats")
async def get_audit_stats(
    session: Session, query: Annotated[schemas.AuditStatsQuery, Query()]
) -> schemas.AuditStatsView:
    """Count audit events by hour. Fast for a log of any length, and current."""
    return await count_hours(session, query, await transaction_time(session))


@router.get(
    "/export",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/x-ndjson": _TEXT, "text/csv": _TEXT}}},
)
async def export_audit_events(
    request: Request,
    session: Session,
    runtime: CurrentRuntime,
    caller: CanRead,
    query: Annotated[schemas.AuditExportQuery, Query()],
) -> Response:
    """Export all matching audit events in commit order. Outcomes are separate items.

    There is no limit on the size. `leaves` are the sealed rows, to compare with checkpoints; the response is 503
    `audit_log_corrupted` when the log differs from what was sealed. In `csv`, a cell that a spreadsheet could take for
    a formula begins with an apostrophe. An incomplete export lacks its last chunk, and clients report a broken
    connection.
    """
    check_since(query)
    if query.format == "leaves":
        look = await export_leaves(await connection_of(session), query.first, query.end)
    else:
        look = export(query, await present(session))
    headers = headers_of(query, await transaction_time(session))
    return runtime.live.download(
        Watch(request, caller, Permission.AUDIT_READ, runtime.authenticate, look), headers
    )


@router.get("/stream", response_class=StreamingResponse, responses={200: {"content": {MEDIA_TYPE: _TEXT}}})
async def stream_audit_events(
    request: Request,
    session: Session,
    runtime: CurrentRuntime,
    caller: CanRead,
    query: Annotated[schemas.AuditStreamQuery, Query()],
    last_event_id: LastEventId = None,
) -> Response:
    """Stream audit events as server-sent events, in commit order without gaps.

    `data` is an audit event; `id` is the value to continue with, in `Last-Event-ID` or `after`. Outcomes are items of
    their own. An event `ended` has the `code` of the reason: `unauthenticated` or `forbidden` when the caller lost
    access.
    """
    check_since(query)
    cursors = Cursors(runtime.peppers.derive("cursors"), "poll_audit_events", query.filters())
    after = position_of(cursors, query.after if last_event_id is None else last_event_id)
    look = follow(query, cursors, await present(session) if after is None else after)
    return runtime.live.stream(Watch(request, caller, Permission.AUDIT_READ, runtime.authenticate, look))


@router.get("", dependencies=_READS)
async def list_audit_events(
    session: Session, runtime: CurrentRuntime, query: Annotated[schemas.AuditQuery, Query()]
) -> Page[schemas.AuditEventView]:
    """List audit events, newest first; with `after`, in commit order without gaps.

    A filter without an index is searched for about a second per page: if few events match, a page may hold fewer than
    `limit`, or none, and still have a `next_cursor`.
    """
    return await reading.list_events(session, runtime, query)


@router.get("/{event_id}", dependencies=_READS)
async def get_audit_event(session: Session, event_id: EventId) -> schemas.AuditEventView:
    """Read one audit event, a call with its outcome."""
    return await reading.read(session, event_id)


@router.get("/{event_id}/arguments")
async def get_audit_event_arguments(
    change: CanReadArguments, runtime: CurrentRuntime, event_id: EventId
) -> schemas.AuditArgumentsView:
    """Read the recorded arguments of a call. Reading them is recorded as an event."""
    return await reading.read_arguments(change, event_id, runtime)


def _view(checkpoint: StoredCheckpoint) -> schemas.AuditCheckpointView:
    return schemas.AuditCheckpointView(
        tree_size=checkpoint.size,
        epoch=checkpoint.place[0],
        root_hash=checkpoint.root.hex(),
        note=checkpoint.note,
        created_at=checkpoint.created_at,
    )
