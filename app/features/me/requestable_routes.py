"""REST route of the servers that can be asked for: what everybody sees who can sign in."""

from typing import Annotated

from fastapi import APIRouter, Query

from app.features.approvals.access_schemas import RequestableQuery, RequestableServer
from app.features.approvals.requestable import select_requestable, show_requestable
from app.http.authorization import Permission, requires
from app.http.pagination import Cursors, Page, read_page
from app.http.problems import COMMON_PROBLEMS
from app.http.runtime import CurrentRuntime
from app.http.transaction import Session, TransactionalRoute
from app.models.servers import Server

router = APIRouter(
    prefix="/api/v1/me", tags=["me"], route_class=TransactionalRoute, responses=COMMON_PROBLEMS
)


@router.get(
    "/requestable-servers",
    dependencies=[requires(Permission.SELF_READ)],
    operation_id="list_requestable_servers",
    summary="List the servers that you can ask for, newest first",
)
async def list_requestable_servers(
    query: Annotated[RequestableQuery, Query()], session: Session, runtime: CurrentRuntime
) -> Page[RequestableServer]:
    """Those whose administrators set `requestable`, each with its active tools. Ask by `POST /api/v1/approvals`."""
    cursors = Cursors(runtime.peppers.derive("cursors"), "list_requestable_servers", query.filters())
    rows, next_cursor = await read_page(session, select_requestable(query.q), Server, cursors, query)
    return Page(items=await show_requestable(session, rows), next_cursor=next_cursor)
