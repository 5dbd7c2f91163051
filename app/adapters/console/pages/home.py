"""Where the console begins."""

from typing import Annotated

from fastapi import APIRouter, Request, Response

from app.adapters.console.menu import HOME, first_page
from app.adapters.console.page import PageRoute, page, redirect
from app.adapters.console.signed_in import Viewer, signed_in
from app.kit.authorization import Permission

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get(HOME, operation_id="page_home")
async def show_home(request: Request, viewer: Annotated[Viewer, signed_in(Permission.SELF_READ)]) -> Response:
    """What there is to know at a glance; whoever has no role begins at their own access."""
    begin = first_page(viewer.caller)
    return page(request, "home.html", viewer=viewer) if begin == HOME else redirect(begin)
