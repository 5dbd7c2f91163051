"""Rendering pages, their headers, and every error as a page that says what to do next."""

from collections.abc import Callable, Coroutine
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from app.adapters.console.console import Console
from app.adapters.console.visible import visible
from app.domain.errors import (
    DomainError,
    Malformed,
    NotFound,
    TooManyRequests,
    Unauthenticated,
    Unavailable,
)
from app.kit.database import TransactionalRoute
from app.kit.problems import STATUS

HOME = "/approvals"
_STYLE = Path(__file__).with_name("static") / "pages.css"
_POLICY = (
    "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; frame-ancestors 'none'; "
    "base-uri 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cache-Control": "no-store",
    # With none at all, a browser would not say which page a form came from.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}


class PageRoute(TransactionalRoute):
    """Answers people: errors are pages, and whoever is not signed in is sent to sign in."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            console: Console = request.app.state.console
            try:
                _check_host(console, request)
                return await handle(request)
            except Unauthenticated:
                return _sign_in_first(console, request)
            except RequestValidationError:
                return error_page(request, NotFound("There is no such page."))
            except DomainError as error:
                return error_page(request, error)

        return answer


def page(
    name: str, *, status: int = 200, headers: dict[str, str] | None = None, **values: Any
) -> HTMLResponse:
    """A page of a template."""
    text = _templates().get_template(name).render(style=style_path(), **values)
    return HTMLResponse(text, status, {**_HEADERS, **(headers or {})})


def error_page(request: Request, error: DomainError) -> HTMLResponse:
    """What is wrong, in words, and the way back."""
    status, title = next((status, title) for kind, status, title in STATUS if isinstance(error, kind))
    headers = {}
    if isinstance(error, TooManyRequests | Unavailable):
        headers["Retry-After"] = str(error.retry_after_s)
    return page(
        "error.html",
        status=status,
        headers=headers,
        title=title,
        detail=error.detail,
        code=error.code,
        request_id=request.state.request_id,
        # A page that is not there is no way on.
        back=HOME if request.method == "GET" else _page_of(request),
    )


def sign_in_path(target: str) -> str:
    """Where to sign in, to go on to ``target``."""
    return f"/login?{urlencode({'next': target})}"


@cache
def style_path() -> str:
    """The style sheet's path, which changes with it."""
    return f"/console/pages.css?v={sha256(style()).hexdigest()[:12]}"


@cache
def style() -> bytes:
    """The style sheet."""
    return _STYLE.read_bytes()


def _sign_in_first(console: Console, request: Request) -> Response:
    if request.method == "GET":
        return RedirectResponse(sign_in_path(_page_of(request)), 303, _HEADERS)
    # Not by a redirect: a form may not be sent on to the provider, and what it asked for would be lost unseen.
    response = page("signed_in_no_more.html", status=401, sign_in=sign_in_path(_page_of(request)))
    console.cookies.end_session(response)
    return response


def _page_of(request: Request) -> str:
    """The page that a request is about: itself, or the one that its form stands on."""
    path = request.url.path
    if request.method != "GET":
        path = path.rpartition("/")[0]
    return path if path.startswith(f"{HOME}/") else HOME


def _check_host(console: Console, request: Request) -> None:
    if not console.is_asked_as(request.headers.get("host", "")):
        raise Malformed(f"This service is at {console.public_url}: open it there.")


@cache
def _templates() -> Environment:
    templates = Environment(
        loader=PackageLoader("app.adapters.console"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["visible"] = visible
    return templates
