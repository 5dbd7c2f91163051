"""The access matrix: identities by servers, with the number of reachable tools in each cell."""

from typing import Annotated
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import Field

from app.access.snapshot import CurrentSnapshot
from app.adapters.console.forms import read_query
from app.adapters.console.page import PageRoute, page
from app.adapters.console.pages.principals import IDENTITIES, format_name
from app.adapters.console.viewer import Viewer, require_viewer
from app.features.access import routes as matrix_routes
from app.features.access.schemas import AccessMatrixCell, AccessMatrixQuery
from app.features.identities import routes as identities
from app.features.identities.schemas import IdentityQuery
from app.features.servers import routes as servers
from app.features.servers.schemas import ServerQuery
from app.http.authorization import Permission
from app.http.runtime import CurrentRuntime
from app.http.schemas import ShortText, Strict
from app.http.transaction import Session
from app.lib.ids import IDENTITY, SERVER, format_id

router = APIRouter(include_in_schema=False, route_class=PageRoute)

PATH = "/console/access"
IDENTITIES_A_PAGE = 20
SERVERS_A_PAGE = 10
_FILTERS = ("q", "kind", "server_q", "cursor", "server_cursor")


class _Columns(Strict):
    """The query parameters that select servers."""

    server_q: ShortText | None = None
    server_cursor: str | None = Field(default=None, max_length=2000)


@router.get(PATH, operation_id="page_show_matrix")
async def show_matrix(
    request: Request,
    viewer: Annotated[Viewer, require_viewer(Permission.ACCESS_EXPLAIN)],
    session: Session,
    runtime: CurrentRuntime,
    snapshot: CurrentSnapshot,
) -> Response:
    """Show a page of identities by a page of servers, both sorted by name."""
    rows = read_query(IdentityQuery, request, limit=IDENTITIES_A_PAGE, status=["active"], sort="user_name")
    asked = read_query(_Columns, request)
    columns = ServerQuery(
        q=asked.server_q, cursor=asked.server_cursor, limit=SERVERS_A_PAGE, status=["active"], sort="slug"
    )
    people = await identities.list_identities(rows, session, runtime)
    fleet = await servers.list_servers(columns, viewer.caller, session, runtime)
    cells: dict[UUID, dict[UUID, AccessMatrixCell]] = {}
    if people.items and fleet.items:
        wanted = AccessMatrixQuery(
            identity_id=[one.id for one in people.items], server_id=[one.id for one in fleet.items]
        )
        found = await matrix_routes.get_access_matrix(wanted, session, snapshot)
        cells = {row.identity_id: {cell.server_id: cell for cell in row.cells} for row in found.items}
    return page(
        request, "access/matrix.html", viewer=viewer, people=people.items, servers=fleet.items, cells=cells,
        format_name=format_name, query=rows, server_q=asked.server_q, href=_cell_href,
        more=_with(request, cursor=people.next_cursor), first=_with(request, cursor="") if rows.cursor else None,
        more_servers=_with(request, server_cursor=fleet.next_cursor),
        first_servers=_with(request, server_cursor="") if asked.server_cursor else None,
        is_filtered=bool(rows.q or rows.kind or asked.server_q),
    )  # fmt: skip


def _with(request: Request, **changed: str | None) -> str | None:
    """This address with another cursor for one of the two lists; None if there is no such page."""
    if None in changed.values():
        return None
    kept = {name: request.query_params.get(name, "") for name in _FILTERS} | changed
    asked = urlencode({name: value for name, value in kept.items() if value})
    return f"{PATH}?{asked}" if asked else PATH


def _cell_href(identity_id: UUID, server_id: UUID, slug: str, cell: AccessMatrixCell) -> str:
    """The page that explains a cell: its tools and grants, or why there are none."""
    whose = format_id(IDENTITY, identity_id)
    if not cell.reached:
        return f"/console/explain?{urlencode({'identity_id': whose, 'server': slug})}"
    return f"{IDENTITIES}/{whose}?{urlencode({'tab': 'access', 'server_id': format_id(SERVER, server_id)})}"
