"""``/audit-events/stats``: how many events there were, by the hour."""

from typing import Annotated

from fastapi import APIRouter, Query

from app.features.audit.stats import count_hours
from app.features.audit.stats_schemas import AuditStatsQuery, AuditStatsView
from app.http.authorization import Permission, requires
from app.http.problems import COMMON_PROBLEMS
from app.http.runtime import CurrentRuntime
from app.http.transaction import Session, TransactionalRoute

router = APIRouter(
    prefix="/api/v1/audit-events",
    tags=["audit-events"],
    route_class=TransactionalRoute,
    responses=COMMON_PROBLEMS,
)


@router.get("/stats", dependencies=[requires(Permission.AUDIT_READ)], operation_id="get_audit_event_stats")
async def get_audit_stats(
    session: Session, runtime: CurrentRuntime, query: Annotated[AuditStatsQuery, Query()]
) -> AuditStatsView:
    """How many events there were, by the hour. Cheap however long the trail is, and of the moment."""
    return await count_hours(session, query, runtime.clock())
