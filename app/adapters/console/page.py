"""Page rendering: response headers, templates, and error pages (ADR 20)."""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import cache
from secrets import token_urlsafe
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from jinja2_fragments import render_block

from app.adapters.console import display
from app.adapters.console.assets import are_made, asset_path
from app.adapters.console.console import SESSION, Console, is_live_request
from app.adapters.console.menu import HOME, entry_at, list_menu
from app.domain.errors import DomainError, Malformed, NotFound, TooManyRequests, Unauthenticated, Unavailable
from app.http.live import MEDIA_TYPE, live_event
from app.http.problems import STATUS, UNEXPECTED
from app.http.requests import log_unexpected
from app.http.transaction import TransactionalRoute
from app.lib.ids import format_id

if TYPE_CHECKING:
    from app.adapters.console.context import Viewer

SIGN_OUT = "/logout"
THEMES = ("light", "dark")
THEME_COOKIE = "scopegate-theme"
# Statuses after which the same form can be sent again, since nothing was changed.
_REPEATABLE = frozenset({429, 500, 503})
# Query parameters that hold a position in a list.
_POSITIONS = frozenset({"cursor", "server_cursor", "after", "at"})
_POLICY = (
    "default-src 'none'; script-src 'nonce-{nonce}' 'strict-dynamic'; style-src 'self'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'; "
    "require-trusted-types-for 'script'; trusted-types htmx"
)
HEADERS = {
    "Cache-Control": "no-store",
    # Forms need an Origin header, which browsers leave out without a referrer.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
}


# Path patterns of all GET routes.
_PAGE_PATTERNS: set[str] = set()


class PageRoute(TransactionalRoute):
    """Answers with pages: renders errors as pages and redirects anonymous readers to the sign-in."""

    def __init__(self, path: str, *args: Any, **values: Any) -> None:
        super().__init__(path, *args, **values)
        if "GET" in (self.methods or ()):
            _PAGE_PATTERNS.add(path)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            console: Console = request.app.state.console
            try:
                redirection = _redirect_to_public_url(console, request)
                return await handle(request) if redirection is None else redirection
            except Unauthenticated as error:
                return _end_stream(error) if is_live_request(request) else _require_sign_in(console, request)
            except RequestValidationError as error:
                return error_page(request, _unreadable(error))
            except DomainError as error:
                if is_live_request(request) and not isinstance(error, TooManyRequests | Unavailable):
                    return _end_stream(error)
                if error.code == "cursor_mismatch" and request.method == "GET":
                    # The filter's result changed since the cursor was issued: to the list's first page.
                    kept = [one for one in request.query_params.multi_items() if one[0] not in _POSITIONS]
                    return redirect(with_query(request.url.path, kept))
                return error_page(request, error)
            except Exception as error:
                if is_live_request(request):
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
    """Render a template, or the block that htmx asks for, named like its target's id."""
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
        "menu": [] if viewer is None else list(list_menu(viewer.caller)),
        **values,
    }
    templates = _templates()
    # Macros that need the page's nonce and viewer, for the page and each of its blocks.
    context["ui"] = templates.get_template("ui.html").make_module(context)
    block = _requested_block(request)
    if block in templates.get_template(name).blocks:
        text = render_block(templates, name, block, **context)
    else:
        text = templates.get_template(name).render(context)
    policy = {"Content-Security-Policy": _POLICY.format(nonce=nonce)}
    return HTMLResponse(text, status, {**HEADERS, **policy, **(headers or {})})


def error_page(request: Request, error: DomainError, name: str = "error.html", **values: Any) -> HTMLResponse:
    """Render an error with a way back; ``name`` can name a more specific template."""
    status, title = next((status, title) for kind, status, title in STATUS if isinstance(error, kind))
    headers = {}
    if isinstance(error, TooManyRequests | Unavailable):
        headers["Retry-After"] = str(error.retry_after_s)
    return _error_page(request, status, title, error.code, error.detail, name, headers=headers, **values)


def render_http_error(request: Request, status: int, detail: str, headers: Mapping[str, str]) -> Response:
    """Render an error that occurs outside of a page's route."""
    return page(
        request, "error.html", status=status, headers=dict(headers), title="Request failed", detail=detail,
        code="", request_id=request.state.request_id, back=HOME, kept=[], action=HOME,
    )  # fmt: skip


def _error_page(
    request: Request, status: int, title: str, code: str, detail: str, name: str = "error.html", **values: Any
) -> HTMLResponse:
    return page(
        request,
        # A fragment cannot hold a whole page.
        "error_part.html" if _requested_block(request) else name,
        viewer=getattr(request.state, "viewer", None),
        status=status,
        title=title,
        detail=detail,
        code=code,
        request_id=request.state.request_id,
        # The requested page may not exist, so a GET leads home.
        back=HOME if request.method == "GET" else _page_of(request),
        kept=_kept_input(request) if status in _REPEATABLE else [],
        action=_at(request, request.url.path),
        **values,
    )


def _kept_input(request: Request) -> list[tuple[str, str]]:
    """The fields of a failed form to send again, without secrets."""
    pairs: list[tuple[str, str]] = getattr(request.state, "form_input", [])
    return [(name, text) for name, text in pairs if not is_secret_field(name)]


def is_secret_field(name: str) -> bool:
    """Whether a form field holds a secret, which is never shown again; password fields have these names."""
    return name == "secret" or name.startswith("env.")


def redirect(path: str) -> Response:
    """Redirect to a page after a change (POST/redirect/GET)."""
    return RedirectResponse(path, 303, HEADERS)


def with_query(path: str, pairs: Sequence[tuple[str, str]] | Mapping[str, str]) -> str:
    """A path with a query of these pairs, if there are any."""
    return f"{path}?{urlencode(pairs)}" if pairs else path


def sign_in_path(target: str, **more: str) -> str:
    """The path of the sign-in page, which continues to ``target``."""
    return f"/login?{urlencode({'next': target} | more)}"


def _requested_block(request: Request) -> str:
    """The template block that htmx asks for; empty for a whole page."""
    if request.headers.get("hx-request") != "true":
        return ""
    return request.headers.get("hx-target", "").rpartition("#")[2].replace("-", "_")


def _end_stream(error: DomainError) -> Response:
    """End an event stream. After any other response the browser would reconnect without end."""
    event = live_event({"code": error.code}, name="ended")
    return Response(event, media_type=MEDIA_TYPE, headers=HEADERS)


def _require_sign_in(console: Console, request: Request) -> Response:
    sign_in = sign_in_path(_page_of(request))
    if request.headers.get("hx-request") == "true":
        # Makes htmx redirect the whole page instead of the fragment.
        return Response(status_code=200, headers={**HEADERS, "HX-Redirect": sign_in})
    if request.method == "GET":
        return RedirectResponse(sign_in, 303, HEADERS)
    if request.url.path == SIGN_OUT:
        # The session is already over.
        response = page(request, "signed_out.html", onward=None, provider=None, sign_in="/login")
    else:
        # No redirect: the form's content would be lost.
        response = page(
            request, "signed_in_no_more.html", status=401, sign_in=sign_in, kept=_kept_input(request)
        )
    console.cookies.end(response, SESSION)
    return response


def path_of_page(request: Request) -> str:
    """The path of the requested page, or of the page that a form belongs to."""
    path = request.url.path
    if request.method == "GET":
        return path
    if "route" not in request.scope:
        return HOME
    pattern = request.scope["route"].path
    while pattern and pattern not in _PAGE_PATTERNS:
        path, pattern = path.rpartition("/")[0], pattern.rpartition("/")[0]
    return path


def _page_of(request: Request) -> str:
    """The address of the requested page, with its query."""
    path = path_of_page(request)
    if path != HOME and not path.startswith(f"{HOME}/"):
        return HOME
    return _at(request, path)


def _at(request: Request, path: str) -> str:
    """A path with the request's query."""
    query = request.url.query
    return quote(path, safe="/") + (f"?{query}" if query else "")


def _unreadable(error: RequestValidationError) -> DomainError:
    """Translate a validation error: an invalid filter, or an id in the path that cannot exist."""
    if any(one["loc"][0] == "query" for one in error.errors()):
        return Malformed("The address has an invalid filter. Open the page again.")
    return NotFound("There is no such page.")


def _redirect_to_public_url(console: Console, request: Request) -> Response | None:
    """Redirect from another allowed host to the public URL, the only one with cookies. Raises ``Malformed``."""
    host = request.headers.get("host", "")
    if console.is_public_host(host):
        return None
    if request.method == "GET" and host.lower() in console.address.other_hosts:
        return RedirectResponse(f"{console.public_url}{_at(request, request.url.path)}", 307, HEADERS)
    raise Malformed(f"This service is at {console.public_url}. Open it there.")


@cache
def _templates() -> Environment:
    templates = Environment(
        loader=PackageLoader("app.adapters.console"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.globals |= {
        "link": display.link,
        "object_path": display.object_path,
        "format_name": display.format_name,
    }
    templates.globals |= {
        "describe_tools": display.describe_tools,
        "describe_servers": display.describe_servers,
    }
    templates.globals |= {"describe_access": display.describe_access, "NOTES": display.NARROWING_NOTES}
    templates.globals |= {"describe_request": display.describe_request, "health": display.health}
    templates.globals["why_waiting"] = display.why_waiting
    templates.filters["visible"] = display.visible
    templates.filters["place"] = display.label_of_pointer
    # Formats ids as the API does: {{ row.id|typed("idn") }}.
    templates.filters["typed"] = lambda id, prefix: format_id(prefix, id)
    return templates
