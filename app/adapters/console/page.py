"""Rendering pages, their headers, and every error as a page that says what to do next (ADR 20)."""

from collections.abc import Callable, Coroutine, Mapping
from functools import cache
from secrets import token_urlsafe
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from jinja2_fragments import render_block

from app.adapters.console.assets import are_made, asset_path
from app.adapters.console.console import Console, listens
from app.adapters.console.menu import HOME, entry_at, menu_of
from app.adapters.console.places import in_words
from app.adapters.console.visible import visible
from app.domain.errors import (
    DomainError,
    Malformed,
    NotFound,
    TooManyRequests,
    Unauthenticated,
    Unavailable,
)
from app.http.live import MEDIA_TYPE, live_event
from app.http.problems import STATUS
from app.http.request_limits import UNEXPECTED, log_unexpected
from app.http.transaction import TransactionalRoute
from app.lib.ids import format_id

if TYPE_CHECKING:
    from app.adapters.console.signed_in import Viewer

SIGN_OUT = "/logout"
THEMES = ("light", "dark")
THEME_COOKIE = "scopegate-theme"
# Answers after which the same form may be sent again: nothing was changed, and the form itself is not to blame.
_REPEATABLE = frozenset({429, 500, 503})
# What of an address says how far in a list somebody is.
_PLACES = frozenset({"cursor", "server_cursor", "after", "at"})
_POLICY = (
    "default-src 'none'; script-src 'nonce-{nonce}' 'strict-dynamic'; style-src 'self'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'; "
    "require-trusted-types-for 'script'; trusted-types htmx"
)
HEADERS = {
    "Cache-Control": "no-store",
    # With none at all, a browser would not say which page a form came from.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
}


# The paths that pages are read at, as their routes write them.
_READ_AT: set[str] = set()


class PageRoute(TransactionalRoute):
    """Answers people: errors are pages, and whoever is not signed in is sent to sign in."""

    def __init__(self, path: str, *args: Any, **values: Any) -> None:
        super().__init__(path, *args, **values)
        if "GET" in (self.methods or ()):
            _READ_AT.add(path)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            console: Console = request.app.state.console
            try:
                elsewhere = _elsewhere(console, request)
                return await handle(request) if elsewhere is None else elsewhere
            except Unauthenticated as error:
                return _ended(error) if listens(request) else _sign_in_first(console, request)
            except RequestValidationError as error:
                return error_page(request, _unreadable(error))
            except DomainError as error:
                if listens(request) and not isinstance(error, TooManyRequests | Unavailable):
                    return _ended(error)
                if error.code == "cursor_mismatch" and request.method == "GET":
                    # Who is called so, or what ends within a week, was other ones when the page before was shown.
                    return redirect(_from_the_start(request))
                return error_page(request, error)
            except Exception as error:
                if listens(request):
                    raise
                log_unexpected(request.state.request_id, error)
                status, title, code, detail = UNEXPECTED
                return _error_page(request, status, title, code, detail)

        return answer


def page(
    request: Request,
    name: str,
    *,
    viewer: "Viewer | None" = None,
    status: int = 200,
    headers: dict[str, str] | None = None,
    **values: Any,
) -> HTMLResponse:
    """A page of a template, or the one block of it that htmx asks for: that with the name of its target's id."""
    nonce = token_urlsafe(16)
    theme = request.cookies.get(THEME_COOKIE)
    context = {
        "nonce": nonce,
        "asset": asset_path,
        "assets_made": are_made(),
        "theme": theme if theme in THEMES else None,
        "here": entry_at(request.url.path),
        "address": _page_of(request),
        "viewer": viewer,
        "menu": [] if viewer is None else list(menu_of(viewer.caller)),
        **values,
    }
    templates = _templates()
    # Macros that know the page's nonce and viewer, at hand in the page and in each of its blocks.
    context["ui"] = templates.get_template("ui.html").make_module(context)
    block = _asked_block(request)
    if block in templates.get_template(name).blocks:
        text = render_block(templates, name, block, **context)
    else:
        text = templates.get_template(name).render(context)
    policy = {"Content-Security-Policy": _POLICY.format(nonce=nonce)}
    return HTMLResponse(text, status, {**HEADERS, **policy, **(headers or {})})


def error_page(request: Request, error: DomainError, name: str = "error.html", **values: Any) -> HTMLResponse:
    """What is wrong, in words, and the way back; or the page of another template, which says more."""
    status, title = next((status, title) for kind, status, title in STATUS if isinstance(error, kind))
    headers = {}
    if isinstance(error, TooManyRequests | Unavailable):
        headers["Retry-After"] = str(error.retry_after_s)
    return _error_page(request, status, title, error.code, error.detail, name, headers=headers, **values)


def tell_error(request: Request, status: int, detail: str, headers: Mapping[str, str]) -> Response:
    """The page of an error that occurs outside the route of a page."""
    return page(
        request, "error.html", status=status, headers=dict(headers), title="The request was not taken", detail=detail,
        code="", request_id=request.state.request_id, back=HOME, kept=[], action=HOME,
    )  # fmt: skip


def _error_page(
    request: Request, status: int, title: str, code: str, detail: str, name: str = "error.html", **values: Any
) -> HTMLResponse:
    return page(
        request,
        # A part of a page has no room for another page.
        "error_part.html" if _asked_block(request) else name,
        viewer=getattr(request.state, "viewer", None),
        status=status,
        title=title,
        detail=detail,
        code=code,
        request_id=request.state.request_id,
        # A page that is not there is no way on.
        back=HOME if request.method == "GET" else _page_of(request),
        kept=_kept_input(request) if status in _REPEATABLE else [],
        action=_at(request, request.url.path),
        **values,
    )


def _kept_input(request: Request) -> list[tuple[str, str]]:
    """The fields of a form of ours that could not be taken, without secrets."""
    pairs: list[tuple[str, str]] = getattr(request.state, "form_input", [])
    return [(name, text) for name, text in pairs if not is_secret_field(name)]


def is_secret_field(name: str) -> bool:
    """Whether a field of a form holds a secret, which is never shown again: each password field is named so."""
    return name == "secret" or name.startswith("env.")


def redirect(path: str) -> Response:
    """To a page, after a change: reloading it changes nothing again."""
    return RedirectResponse(path, 303, HEADERS)


def sign_in_path(target: str, **more: str) -> str:
    """Where to sign in, to go on to ``target``."""
    return f"/login?{urlencode({'next': target} | more)}"


def _asked_block(request: Request) -> str:
    """The block that a part of a page asks for; empty when a browser asks for a page."""
    if request.headers.get("hx-request") != "true":
        return ""
    return request.headers.get("hx-target", "").rpartition("#")[2].replace("-", "_")


def _ended(error: DomainError) -> Response:
    """A stream that is over before it began. Whatever else is answered, whoever listens asks for again without end."""
    event = live_event({"code": error.code}, name="ended")
    return Response(event, media_type=MEDIA_TYPE, headers=HEADERS)


def _sign_in_first(console: Console, request: Request) -> Response:
    sign_in = sign_in_path(_page_of(request))
    if request.headers.get("hx-request") == "true":
        # The whole page goes to sign in, not a part of it.
        return Response(status_code=200, headers={**HEADERS, "HX-Redirect": sign_in})
    if request.method == "GET":
        return RedirectResponse(sign_in, 303, HEADERS)
    if request.url.path == SIGN_OUT:
        # That is what they asked for.
        response = page(request, "signed_out.html", onward=None, provider=None, sign_in="/login")
    else:
        # Not by a redirect: a form may not be sent on to the provider, and what it asked for would be lost unseen.
        response = page(
            request, "signed_in_no_more.html", status=401, sign_in=sign_in, kept=_kept_input(request)
        )
    console.cookies.end_session(response)
    return response


def path_of_page(request: Request) -> str:
    """The path of the page that a request is about: its own, or that of the page that its form stands on."""
    path = request.url.path
    if request.method == "GET":
        return path
    if "route" not in request.scope:
        return HOME
    pattern = request.scope["route"].path
    while pattern and pattern not in _READ_AT:
        path, pattern = path.rpartition("/")[0], pattern.rpartition("/")[0]
    return path


def _page_of(request: Request) -> str:
    """The page that a request is about, with its query."""
    path = path_of_page(request)
    if path != HOME and not path.startswith(f"{HOME}/"):
        return HOME
    return _at(request, path)


def _at(request: Request, path: str) -> str:
    """The address of a path with the request's query."""
    query = request.url.query
    return quote(path, safe="/") + (f"?{query}" if query else "")


def _from_the_start(request: Request) -> str:
    """The first page of a list, with the filters of the address."""
    kept = [one for one in request.query_params.multi_items() if one[0] not in _PLACES]
    return f"{request.url.path}?{urlencode(kept)}" if kept else request.url.path


def _unreadable(error: RequestValidationError) -> DomainError:
    """An address that names nothing there could be, or a filter that none of ours sends."""
    if any(one["loc"][0] == "query" for one in error.errors()):
        return Malformed("The address asks for something that this page cannot read: open the page anew.")
    return NotFound("There is no such page.")


def _elsewhere(console: Console, request: Request) -> Response | None:
    """From another allowed origin, the way to the public URL: only there cookies are set. Raises ``Malformed``."""
    host = request.headers.get("host", "")
    if console.is_asked_as(host):
        return None
    if request.method == "GET" and host.lower() in console.address.other_hosts:
        return RedirectResponse(f"{console.public_url}{_at(request, request.url.path)}", 307, HEADERS)
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
    templates.filters["place"] = in_words
    # As the API writes ids: {{ row.id|typed("idn") }}.
    templates.filters["typed"] = lambda id, prefix: format_id(prefix, id)
    return templates
