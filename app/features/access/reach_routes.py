"""``/identities/{id}/access`` and ``/tools/{id}/access``: effective access at a given time, with reasons."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from app.access.point_in_time import AccessReader
from app.access.reach import find_callers, reach_page
from app.access.snapshot import AccessSnapshot, CurrentSnapshot
from app.domain.errors import NotFound
from app.domain.reach import blocking_reason, stop_reason
from app.features.access.reach_schemas import (
    AccessQuery,
    IdentityAccessView,
    MomentQuery,
    ReachedServerView,
    ToolAccessView,
    ToolCallerView,
)
from app.features.tokens.service import person_of
from app.features.tools import service as tools
from app.http.authorization import CanReadSelf, Permission, requires
from app.http.pagination import Cursors
from app.http.runtime import CurrentRuntime, Runtime
from app.http.transaction import Session, TransactionalRoute
from app.lib.ids import IdentityId, ToolId

router = APIRouter(prefix="/api/v1", route_class=TransactionalRoute)


@router.get(
    "/identities/{identity_id}/access",
    dependencies=[requires(Permission.GRANTS_READ)],
    tags=["identities"],
    operation_id="list_identity_access",
    summary="List what an identity reaches, and why, by slug",
)
async def list_identity_access(
    identity_id: IdentityId,
    query: Annotated[AccessQuery, Query()],
    session: Session,
    runtime: CurrentRuntime,
    snapshot: CurrentSnapshot,
) -> IdentityAccessView:
    """The servers and tools that the live grants of an identity and of its groups reach, decided as calls are.

    The scope of a token can only narrow this. Policies that read the content of a call cannot be evaluated without one.
    A page with many tools holds fewer servers than `limit`.
    """
    return await _access_of(identity_id, query, session, runtime, snapshot)


@router.get(
    "/me/access",
    tags=["me"],
    operation_id="list_own_access",
    summary="List what you reach, and why, by slug",
)
async def list_own_access(
    query: Annotated[AccessQuery, Query()],
    caller: CanReadSelf,
    session: Session,
    runtime: CurrentRuntime,
    snapshot: CurrentSnapshot,
) -> IdentityAccessView:
    """What your live grants and those of your groups reach, decided as calls are. Only people who sign in have access
    of their own here. Callers who may read grants read the access of an agent at `/identities/{id}/access`."""
    return await _access_of(person_of(caller), query, session, runtime, snapshot)


async def _access_of(
    identity_id: UUID, query: AccessQuery, session: Session, runtime: Runtime, snapshot: AccessSnapshot
) -> IdentityAccessView:
    filters = {"identity_id": identity_id, "server_id": sorted(query.server_id), "at": query.at}
    cursors = Cursors(runtime.peppers.derive("cursors"), "list_identity_access", filters)
    position = cursors.read(query.cursor)
    reader = AccessReader(session, snapshot, query.at, named_by_grants=True)
    state = await reader.of([identity_id])
    identity = state.identities.get(identity_id)
    if identity is None:
        raise NotFound("There is no such identity, or there was none at that time.")
    reason = stop_reason(identity, reader.at)
    servers = () if reason is not None else state.servers.values()
    selected = [server for server in servers if not query.server_id or server.id in query.server_id]
    after = None if position is None else str(position[0])
    reaches, following = await reach_page(
        identity, selected, state.context, reader.at, after=after, limit=query.limit
    )
    return IdentityAccessView(
        identity_id=identity_id,
        at=reader.time,
        stopped=reason,
        items=[ReachedServerView.from_reach(reach, state.group_of) for reach in reaches],
        next_cursor=None if following is None else cursors.write([following]),
    )


@router.get(
    "/tools/{tool_id}/access",
    dependencies=[requires(Permission.GRANTS_READ)],
    tags=["tools"],
    operation_id="list_tool_access",
    summary="List who can call a tool, and why",
)
async def list_tool_access(
    tool_id: ToolId,
    query: Annotated[MomentQuery, Query()],
    session: Session,
    runtime: CurrentRuntime,
    snapshot: CurrentSnapshot,
) -> ToolAccessView:
    """The identities that can call the tool by a grant of their own or of a group, decided as calls are.

    Newest first. If few of many identities can call it, a page may hold fewer than `limit`, or none, and still have a
    `next_cursor`.
    """
    filters = {"tool_id": tool_id, "at": query.at}
    cursors = Cursors(runtime.peppers.derive("cursors"), "list_tool_access", filters)
    position = cursors.read(query.cursor)
    tool = await tools.require(session, tool_id, ended=query.at is not None)
    reader = AccessReader(session, snapshot, query.at, server_ids=[tool.server_id])
    server = (await reader.of([])).servers.get(tool.server_id)
    reason = blocking_reason(server, tool.name, reader.at)
    after = None if position is None else UUID(position[0])
    callers, following = (
        ([], None)
        if reason is not None
        else await find_callers(session, reader, tool.server_id, tool.name, after=after, limit=query.limit)
    )
    return ToolAccessView(
        tool_id=tool_id,
        at=reader.time,
        stopped=reason,
        items=[ToolCallerView.from_caller(caller) for caller in callers],
        next_cursor=None if following is None else cursors.write([following]),
    )
