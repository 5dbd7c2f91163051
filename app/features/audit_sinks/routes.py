"""REST routes of audit sinks: destinations of the audit log, with their lag."""

from typing import Annotated, Literal

from fastapi import Query

from app.db.change import Change
from app.features.audit_sinks import service
from app.features.audit_sinks.schemas import AuditSinkCreate, AuditSinkQuery, AuditSinkUpdate, AuditSinkView
from app.http.authorization import Caller, Permission, changes, requires
from app.http.etags import IfMatch
from app.http.pagination import Page
from app.http.problems import problem_responses
from app.http.runtime import CurrentRuntime
from app.http.transaction import Session, api_router
from app.lib.ids import AuditSinkId
from app.models.audit import AuditSink

router = api_router("audit-sinks")
CanRead = Annotated[Caller, requires(Permission.AUDIT_SINKS_READ)]
CanWrite = Annotated[Change, changes(Permission.AUDIT_SINKS_WRITE)]
Include = Annotated[
    Literal["ended"] | None,
    Query(description="`ended` shows ended ones too; needs the permission audit.read."),
]


async def _answer(session: Session, sink: AuditSink) -> AuditSinkView:
    return AuditSinkView.from_row(sink, (await service.lags_of(session, [sink])).get(sink.id))


@router.get("")
async def list_audit_sinks(
    caller: CanRead, session: Session, runtime: CurrentRuntime, query: Annotated[AuditSinkQuery, Query()]
) -> Page[AuditSinkView]:
    """List audit sinks, newest first."""
    rows, following = await service.list_sinks(session, caller, query, runtime)
    lags = await service.lags_of(session, rows)
    return Page(items=[AuditSinkView.from_row(row, lags.get(row.id)) for row in rows], next_cursor=following)


@router.post("", status_code=201)
async def create_audit_sink(
    change: CanWrite, runtime: CurrentRuntime, body: AuditSinkCreate
) -> AuditSinkView:
    """Create an audit sink. It receives the whole audit log, regardless of who created it."""
    sink = await service.create_sink(change, body, runtime)
    return await _answer(change.session, sink)


@router.get("/{sink_id}")
async def get_audit_sink(
    caller: CanRead, session: Session, sink_id: AuditSinkId, include: Include = None
) -> AuditSinkView:
    """Read one audit sink, with its lag and the state of its endpoint."""
    sink = await service.get_sink(session, caller, sink_id, ended=include is not None)
    return await _answer(session, sink)


@router.patch("/{sink_id}", responses=problem_responses(409))
async def update_audit_sink(
    change: CanWrite, runtime: CurrentRuntime, if_match: IfMatch, sink_id: AuditSinkId, body: AuditSinkUpdate
) -> AuditSinkView:
    """Change an audit sink. Delivery continues immediately where it stopped."""
    sink = await service.update_sink(change, sink_id, body, if_match, runtime)
    return await _answer(change.session, sink)


@router.delete("/{sink_id}", status_code=204)
async def delete_audit_sink(change: CanWrite, if_match: IfMatch, sink_id: AuditSinkId) -> None:
    """End an audit sink. Pending events are not delivered, and its credential is deleted."""
    await service.end_sink(change, sink_id, if_match)


@router.post("/{sink_id}/test", responses=problem_responses(409))
async def test_audit_sink(change: CanWrite, if_match: IfMatch, sink_id: AuditSinkId) -> AuditSinkView:
    """Test an audit sink: record an event `audit_sink.test` and deliver pending events immediately.

    Read the sink a moment later: `delivered_at` or `error` has the result.
    """
    sink = await service.test_sink(change, sink_id, if_match)
    return await _answer(change.session, sink)
