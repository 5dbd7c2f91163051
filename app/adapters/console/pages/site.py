"""Routes that all pages share: assets, the theme, and the page for unknown addresses."""

from typing import Annotated

from fastapi import APIRouter, Request, Response

from app.adapters.console.assets import PREFIX, asset_path, find_asset
from app.adapters.console.attempts import safe_target
from app.adapters.console.console import CurrentConsole
from app.adapters.console.context import Submission, may_open, may_submit
from app.adapters.console.menu import HOME
from app.adapters.console.page import THEME_COOKIE, THEMES, PageRoute, redirect
from app.domain.errors import NotFound
from app.http.authorization import Permission

router = APIRouter(include_in_schema=False, route_class=PageRoute)
fallback = APIRouter(include_in_schema=False, route_class=PageRoute)

_YEAR_S = 31_536_000


@router.get(f"{PREFIX}/{{name}}", operation_id="get_asset")
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


@router.get("/favicon.ico", operation_id="get_favicon")
async def get_favicon() -> Response:
    """Serve the icon at the default path, for browsers that show an API response."""
    icon = find_asset((asset_path("favicon.svg") or "").removeprefix(f"{PREFIX}/"))
    if icon is None:
        raise NotFound("There is no such file.")
    return Response(
        icon.content, media_type=icon.media_type, headers={"Cache-Control": "public, max-age=86400"}
    )


@router.post("/console/theme", operation_id="choose_theme")
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


@fallback.get(
    "/console/{path:path}", operation_id="page_nothing", dependencies=[may_open(Permission.SELF_READ)]
)
async def show_nothing(path: str) -> Response:
    """Answer unknown addresses with a page, for signed-in readers."""
    raise NotFound(f"There is no page at /console/{path[:200]}.")
