"""The access matrix: identities by servers, with the number of reachable tools in each cell."""

from typing import Annotated
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import Field

from app.adapters.console.context import PageContext, may_open
from app.adapters.console.page import PageRoute
from app.adapters.console.pages.principals import IDENTITIES, format_name
from app.features.access import routes as matrix_routes
from app.features.access.schemas import AccessMatrixCell, AccessMatrixQuery
from app.features.identities import routes as identities
from app.features.identities.schemas import IdentityQuery
from app.features.servers import routes as servers
from app.features.servers.schemas import ServerQuery
from app.http.authorization import Permission
from app.http.schemas import ShortText, Strict
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
async def show_matrix(context: Annotated[PageContext, may_open(Permission.ACCESS_EXPLAIN)]) -> Response:
    """Show a page of identities by a page of servers, both sorted by name."""
    rows = context.query(IdentityQuery, limit=IDENTITIES_A_PAGE, status=["active"], sort="user_name")
    asked = context.query(_Columns)
    columns = ServerQuery(
        q=asked.server_q, cursor=asked.server_cursor, limit=SERVERS_A_PAGE, status=["active"], sort="slug"
    )
    people = await identities.list_identities(rows, context.session, context.runtime)
    fleet = await servers.list_servers(columns, context.caller, context.session, context.runtime)
    cells: dict[UUID, dict[UUID, AccessMatrixCell]] = {}
    if people.items and fleet.items:
        wanted = AccessMatrixQuery(
            identity_id=[one.id for one in people.items], server_id=[one.id for one in fleet.items]
        )
        found = await matrix_routes.get_access_matrix(wanted, context.session, context.snapshot)
        cells = {row.identity_id: {cell.server_id: cell for cell in row.cells} for row in found.items}
    return context.page(
        "access/matrix.html", people=people.items, servers=fleet.items, cells=cells,
        format_name=format_name, query=rows, server_q=asked.server_q, href=_cell_href,
        more=_with(context, cursor=people.next_cursor), first=_with(context, cursor="") if rows.cursor else None,
        more_servers=_with(context, server_cursor=fleet.next_cursor),
        first_servers=_with(context, server_cursor="") if asked.server_cursor else None,
        is_filtered=bool(rows.q or rows.kind or asked.server_q),
    )  # fmt: skip


def _with(context: PageContext, **changed: str | None) -> str | None:
    """This address with another cursor for one of the two lists; None if there is no such page."""
    if None in changed.values():
        return None
    kept = {name: context.param(name) for name in _FILTERS} | changed
    asked = urlencode({name: value for name, value in kept.items() if value})
    return f"{PATH}?{asked}" if asked else PATH


def _cell_href(identity_id: UUID, server_id: UUID, slug: str, cell: AccessMatrixCell) -> str:
    """The page that explains a cell: its tools and grants, or why there are none."""
    whose = format_id(IDENTITY, identity_id)
    if not cell.reached:
        return f"/console/explain?{urlencode({'identity_id': whose, 'server': slug})}"
    return f"{IDENTITIES}/{whose}?{urlencode({'tab': 'access', 'server_id': format_id(SERVER, server_id)})}"
