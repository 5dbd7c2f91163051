"""All routes of the console in one router, with those that all pages share: assets, the theme, unknown addresses."""

from typing import Annotated

from fastapi import APIRouter, Request, Response

from app.adapters.console import sign_in_routes
from app.adapters.console.assets import PREFIX, asset_path, find_asset
from app.adapters.console.attempts import safe_target
from app.adapters.console.console import CurrentConsole
from app.adapters.console.context import Submission, may_open, may_submit
from app.adapters.console.menu import HOME
from app.adapters.console.page import THEME_COOKIE, THEMES, PageRoute, redirect
from app.adapters.console.pages import (
    access,
    approvals,
    audit,
    grant_forms,
    grants,
    groups,
    home,
    identities,
    issue_token,
    my_access,
    offboarding,
    policies,
    servers,
    tokens,
    tools,
)
from app.domain.errors import NotFound
from app.http.authorization import Permission

router = APIRouter()
_shared = APIRouter(include_in_schema=False, route_class=PageRoute)
_fallback = APIRouter(include_in_schema=False, route_class=PageRoute)

_YEAR_S = 31_536_000


@_shared.get(f"{PREFIX}/{{name}}", operation_id="get_asset")
async def get_asset(name: str, request: Request) -> Response:
    """Serve an asset under its digest name, cached for a year."""
    asset = find_asset(name)
    if asset is None:
        raise NotFound("There is no such file.")
    headers = {"Cache-Control": f"public, max-age={_YEAR_S}, immutable", "Vary": "Accept-Encoding"}
    if asset.packed is not None and "gzip" in request.headers.get("accept-encoding", ""):
        headers["Content-Encoding"] = "gzip"
        return Response(asset.packed, media_type=asset.media_type, headers=headers)
    return Response(asset.content, media_type=asset.media_type, headers=headers)


@_shared.get("/favicon.ico", operation_id="get_favicon")
async def get_favicon() -> Response:
    """Serve the icon at the default path, for browsers that show an API response."""
    icon = find_asset((asset_path("favicon.svg") or "").removeprefix(f"{PREFIX}/"))
    if icon is None:
        raise NotFound("There is no such file.")
    return Response(
        icon.content, media_type=icon.media_type, headers={"Cache-Control": "public, max-age=86400"}
    )


@_shared.post("/console/theme", operation_id="choose_theme")
async def choose_theme(
    submission: Annotated[Submission, may_submit(Permission.SELF_READ)], console: CurrentConsole
) -> Response:
    """Keep the chosen theme in a cookie: light, dark, or the system's."""
    chosen = submission.form.text("theme")
    response = redirect(safe_target(submission.form.text("page"), HOME))
    response.set_cookie(
        THEME_COOKIE,
        chosen if chosen in THEMES else "",
        max_age=_YEAR_S if chosen in THEMES else 0,
        secure=console.cookies.secure,
        httponly=True,
        samesite="lax",
    )
    return response


@_fallback.get(
    "/console/{path:path}", operation_id="page_nothing", dependencies=[may_open(Permission.SELF_READ)]
)
async def show_nothing(path: str) -> Response:
    """Answer unknown addresses with a page, for signed-in readers."""
    raise NotFound(f"There is no page at /console/{path[:200]}.")


# Fixed paths come before the patterns that would match them.
for _page in (
    sign_in_routes,
    approvals,
    home,
    audit,
    my_access,
    identities,
    offboarding,
    groups,
    access,
    servers,
    tools,
    issue_token,
    tokens,
    grant_forms,
    grants,
    policies,
):
    router.include_router(_page.router)
router.include_router(_shared)
# Last, since it matches every path.
router.include_router(_fallback)
