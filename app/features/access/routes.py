"""``/access/stale``: rights that nobody used, what they could be narrowed to, and doing so.

``/access/matrix``: who reaches how much of what.
"""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.point_in_time import AccessReader
from app.access.reach import matrix_of
from app.access.reading import Fleet
from app.access.snapshot import AccessSnapshot, CurrentSnapshot, SnapshotUnavailable
from app.access.unused import Judge
from app.domain.errors import Unavailable
from app.features.access.schemas import AccessMatrix, AccessMatrixQuery, AccessMatrixRow
from app.features.access.unused_schemas import StaleAccess, StaleApplied, StaleApply, StaleQuery
from app.features.access.unused_service import Applying, Window, page_of, read_position
from app.features.tokens.queries import database_now
from app.http.authorization import Caller, Permission, authorize, requires
from app.http.pagination import Cursors, Page
from app.http.problems import COMMON_PROBLEMS
from app.http.runtime import CurrentRuntime
from app.http.transaction import Session, TransactionalRoute

router = APIRouter(
    prefix="/api/v1/access", tags=["access"], route_class=TransactionalRoute, responses=COMMON_PROBLEMS
)


@router.get(
    "/matrix",
    dependencies=[requires(Permission.ACCESS_EXPLAIN)],
    operation_id="get_access_matrix",
    summary="Count what identities reach of servers",
)
async def get_access_matrix(
    query: Annotated[AccessMatrixQuery, Query()], session: Session, snapshot: CurrentSnapshot
) -> AccessMatrix:
    """For each pair, how many of the server's tools the identity's live grants and those of its groups reach now,
    decided as calls are. `/identities/{id}/access` says which, and why."""
    reader = AccessReader(session, snapshot, server_ids=query.server_id)
    rows = await matrix_of(reader, query.identity_id, query.server_id)
    return AccessMatrix(at=reader.time, items=[AccessMatrixRow.of(row) for row in rows])


CanRead = Annotated[Caller, requires(Permission.GRANTS_READ)]
CanWrite = Annotated[Caller, requires(Permission.GRANTS_WRITE)]
DryRun = Annotated[bool, Query(description="Change nothing; answer what would change.")]


@router.get(
    "/stale",
    operation_id="list_stale_access",
    summary="List unused access, with proposals to narrow it",
)
async def list_stale_access(
    query: Annotated[StaleQuery, Query()],
    caller: CanRead,
    session: Session,
    runtime: CurrentRuntime,
    snapshot: CurrentSnapshot,
) -> Page[StaleAccess]:
    """The grants that are in force and the tokens that live, of which nothing or not all was used in the window. Uses
    are written down within a minute, and only since `observed_since` is anything known of them.

    Grants come first, newest first, then tokens. Where few of many are stale, a page may hold fewer than `limit`, or
    none, and still have a `next_cursor`.
    """
    authorize(caller, Permission.TOKENS_READ)
    filters = query.model_dump(exclude={"limit", "cursor"})
    cursors = Cursors(runtime.peppers.derive("cursors"), "list_stale_access", filters)
    position = read_position(cursors.read(query.cursor))
    window = await _window(session, query.unused_for_days)
    judge = await Judge.of(session, (await _fleet(snapshot)).servers, window.since)
    items, following = await page_of(session, judge, query, window, position)
    return Page(items=items, next_cursor=None if following is None else cursors.write(following))


@router.post(
    "/stale/apply",
    operation_id="apply_stale_access",
    summary="Narrow or end grants as the report proposes",
)
async def apply_stale_access(
    body: StaleApply,
    caller: CanWrite,
    session: Session,
    snapshot: CurrentSnapshot,
    request: Request,
    dry_run: DryRun = False,
) -> StaleApplied:
    """Works each proposal out again, and applies it if it is still the one whose `digest` was sent: not if the grant
    was changed, or more of it was used. From then on, calls of what it no longer gives are refused, with tokens in use
    too.
    """
    window = await _window(session, body.unused_for_days)
    fleet = await _fleet(snapshot)
    judge = await Judge.of(session, fleet.servers, window.since)
    applying = Applying(session, caller, fleet, window.now, request.state.request_id)
    return StaleApplied(dry_run=dry_run, items=await applying.apply(judge, body, dry_run=dry_run))


async def _window(session: AsyncSession, days: int) -> Window:
    now = await database_now(session)
    return Window(now - timedelta(days=days), now)


async def _fleet(snapshot: AccessSnapshot) -> Fleet:
    try:
        fleet, _ = await snapshot.fleet(fresh=True)
    except SnapshotUnavailable as error:
        raise Unavailable("The database cannot serve right now; repeat the request shortly.") from error
    return fleet
