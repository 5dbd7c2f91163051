"""``/access/stale`` reports and narrows unused access, ``/access/matrix`` counts effective access."""

from datetime import timedelta
from typing import Annotated

from fastapi import Query, Request
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.point_in_time import AccessReader
from app.access.reach import build_matrix
from app.access.reading import Fleet
from app.access.snapshot import AccessSnapshot, CurrentSnapshot
from app.access.unused import UsageReview
from app.domain.errors import StoreUnavailable, Unavailable
from app.features.access.schemas import AccessMatrix, AccessMatrixQuery, AccessMatrixRow
from app.features.access.unused_schemas import StaleAccess, StaleApplied, StaleApply, StaleQuery
from app.features.access.unused_service import ProposalApplier, Window, read_page, read_position
from app.features.tokens.queries import database_now
from app.http.authorization import Caller, Permission, authorize, requires
from app.http.pagination import Cursors, Page
from app.http.runtime import CurrentRuntime
from app.http.transaction import Session, api_router

router = api_router("access")


@router.get(
    "/matrix",
    dependencies=[requires(Permission.ACCESS_EXPLAIN)],
    operation_id="get_access_matrix",
    summary="Count what identities reach of servers",
)
async def get_access_matrix(
    query: Annotated[AccessMatrixQuery, Query()], session: Session, snapshot: CurrentSnapshot
) -> AccessMatrix:
    """For each pair, how many of the server's tools the identity can call now by its live grants and those of its
    groups, decided as calls are. `/identities/{id}/access` lists them."""
    reader = AccessReader(session, snapshot, server_ids=query.server_id)
    rows = await build_matrix(reader, query.identity_id, query.server_id)
    return AccessMatrix(at=reader.time, items=[AccessMatrixRow.of(row) for row in rows])


CanRead = Annotated[Caller, requires(Permission.GRANTS_READ)]
CanWrite = Annotated[Caller, requires(Permission.GRANTS_WRITE)]
DryRun = Annotated[bool, Query(description="Return what would change, and change nothing.")]


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
    """The active grants and tokens that were not used, or only in part, in the window. Uses are recorded within a
    minute; nothing is known of the time before `observed_since`.

    Grants come first, then tokens, each newest first. If few of many are unused, a page may hold fewer than `limit`, or
    none, and still have a `next_cursor`.
    """
    authorize(caller, Permission.TOKENS_READ)
    filters = query.model_dump(exclude={"limit", "cursor"})
    cursors = Cursors(runtime.peppers.derive("cursors"), "list_stale_access", filters)
    position = read_position(cursors.read(query.cursor))
    window = await _window(session, query.unused_for_days)
    review = await UsageReview.of(session, (await _fleet(snapshot)).servers, window.since)
    items, following = await read_page(session, review, query, window, position)
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
    """Compute each proposal again and apply it if its `digest` is the one that was sent, which is not so if the grant
    was changed or used further. From then on, calls that it no longer allows are refused, for existing tokens too."""
    window = await _window(session, body.unused_for_days)
    fleet = await _fleet(snapshot)
    review = await UsageReview.of(session, fleet.servers, window.since)
    applying = ProposalApplier(session, caller, fleet, window.now, request.state.request_id)
    return StaleApplied(dry_run=dry_run, items=await applying.apply(review, body, dry_run=dry_run))


async def _window(session: AsyncSession, days: int) -> Window:
    now = await database_now(session)
    return Window(now - timedelta(days=days), now)


async def _fleet(snapshot: AccessSnapshot) -> Fleet:
    try:
        fleet, _ = await snapshot.fleet(fresh=True)
    except StoreUnavailable as error:
        raise Unavailable("The database cannot serve right now; repeat the request shortly.") from error
    return fleet
