"""``/identities/{id}/access``: what an identity reaches now, and why."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from app.domain.errors import NotFound, Unavailable
from app.domain.reach import stopped
from app.features.access.effective import page_of
from app.features.access.schemas import AccessQuery, IdentityAccessView, ReachedServerView
from app.features.access.snapshot import AccessSnapshot, SnapshotUnavailable
from app.kit.authorization import Permission, requires
from app.kit.database import TransactionalRoute
from app.kit.ids import IdentityId
from app.kit.pagination import Cursors
from app.kit.problems import COMMON_PROBLEMS
from app.kit.runtime import CurrentRuntime

router = APIRouter(
    prefix="/api/v1/identities",
    tags=["identities"],
    route_class=TransactionalRoute,
    responses=COMMON_PROBLEMS,
)


async def _get_snapshot(request: Request) -> AccessSnapshot:
    snapshot: AccessSnapshot = request.app.state.access
    return snapshot


@router.get(
    "/{identity_id}/access",
    dependencies=[requires(Permission.GRANTS_READ)],
    operation_id="list_identity_access",
    summary="List what an identity reaches now, and why, by slug",
)
async def list_identity_access(
    identity_id: IdentityId,
    query: Annotated[AccessQuery, Query()],
    runtime: CurrentRuntime,
    snapshot: Annotated[AccessSnapshot, Depends(_get_snapshot)],
) -> IdentityAccessView:
    """The servers and tools that its live grants and those of its groups reach, decided as calls are.

    A token reaches as much at most: its own scope narrows it. A page with many tools holds fewer servers than `limit`.
    """
    filters = {"identity_id": identity_id, "server_id": sorted(query.server_id)}
    cursors = Cursors(runtime.peppers.derive("cursors"), "list_identity_access", filters)
    position = cursors.read(query.cursor)
    try:
        holder, fleet, around = await snapshot.holder(identity_id)
    except SnapshotUnavailable as error:
        raise Unavailable("The database cannot serve right now; repeat the request shortly.") from error
    if holder is None:
        raise NotFound("There is no such identity.")
    at = snapshot.clock.now()
    reason = stopped(holder.identity, at)
    servers = () if reason is not None else fleet.servers.values()
    wanted = [server for server in servers if not query.server_id or server.id in query.server_id]
    after = None if position is None else str(position[0])
    found, following = page_of(holder.identity, wanted, around, at, after=after, limit=query.limit)
    return IdentityAccessView(
        identity_id=identity_id,
        at=datetime.fromtimestamp(at, UTC),
        stopped=reason,
        items=[ReachedServerView.from_reach(reach, holder.group_of) for reach in found],
        next_cursor=None if following is None else cursors.write([following]),
    )
