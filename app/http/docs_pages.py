"""``/docs``: the contract as pages, rendered by Redoc from files of this service; and ``/docs/errors``.

Each problem code has a page, so that the ``type`` of a problem can be opened on any service.
"""

import re
from functools import cache
from html import escape
from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse, HTMLResponse, Response
from markdown_it import MarkdownIt

from app.domain.errors import NotFound

router = APIRouter(prefix="/docs", include_in_schema=False)

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Scopegate API</title>
<style>body { margin: 0; }</style>
<div id="reference"></div>
<script src="/docs/redoc.js"></script>
<script src="/docs/start.js"></script>
</html>
"""
_START = """\
Redoc.init("/openapi.json", {
  sortRequiredPropsFirst: true,
  jsonSamplesExpandLevel: 3,
  pathInMiddlePanel: true,
  hideHostname: true,
  nativeScrollbars: true,
  theme: {
    typography: {
      fontFamily: "system-ui, sans-serif",
      fontSize: "15px",
      headings: { fontFamily: "system-ui, sans-serif", fontWeight: "600" },
      code: { fontFamily: "ui-monospace, monospace", fontSize: "13px" },
    },
    colors: { primary: { main: "#2456c9" } },
    sidebar: { width: "280px", backgroundColor: "#f7f8fa" },
    rightPanel: { backgroundColor: "#1b2333" },
  },
}, document.getElementById("reference"));
"""
# Redoc writes its styles into the page, and searches in a worker that it creates.
_POLICY = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'unsafe-inline'; img-src 'self' data:; "
    "worker-src blob:; frame-ancestors 'none'; base-uri 'none'"
)
_BUNDLE = Path(str(files("fastapi_standalone_docs"))) / "static" / "redoc"
_CACHED = {"Cache-Control": "public, max-age=86400"}


@router.get("", operation_id="get_reference")
async def get_reference() -> HTMLResponse:
    """The API reference."""
    return HTMLResponse(_PAGE, headers={"Content-Security-Policy": _POLICY})


@router.get("/start.js", operation_id="get_reference_script")
async def get_start() -> Response:
    """The script that starts Redoc, in a separate file because the page allows no inline scripts."""
    return Response(_START, media_type="text/javascript")


@router.get("/redoc.js", operation_id="get_redoc")
async def get_redoc() -> FileResponse:
    """Redoc, from the package that bundles it."""
    return FileResponse(_BUNDLE / "redoc.standalone.js", media_type="text/javascript", headers=_CACHED)


@router.get("/logo-mini.svg", operation_id="get_redoc_logo")
async def get_redoc_logo() -> FileResponse:
    """The logo of Redoc, which it shows in the footer."""
    return FileResponse(_BUNDLE / "logo-mini.svg", media_type="image/svg+xml", headers=_CACHED)


# A link to another document, which the service does not have: only its text is kept.
_ELSEWHERE = re.compile(r"\[([^\]]+)\]\(\.\./[^)]+\)")
_ERROR_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "Cache-Control": "public, max-age=3600",
}
_ERROR_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title} · Scopegate errors</title>
<style>
:root {{ color-scheme: light dark; --soft: #6b7280; --line: #8883; --code: #8881; }}
body {{ font: 17px/1.6 system-ui, sans-serif; max-width: 46rem; margin: 3rem auto; padding: 0 1.25rem; }}
h1 {{ font-size: 1.7rem; margin: 1.5rem 0 1rem; }}
h2 {{ font-size: 1.1rem; margin: 2rem 0 .5rem; }}
h1 code {{ background: none; padding: 0; }}
code {{ font: .9em ui-monospace, monospace; background: var(--code); padding: .1em .35em; border-radius: 4px; }}
pre {{ background: var(--code); border: 1px solid var(--line); border-radius: 8px; padding: 1rem; overflow-x: auto; }}
pre code {{ background: none; padding: 0; }}
nav, nav a {{ color: var(--soft); font-size: .9rem; }}
li {{ margin: .3rem 0; }}
</style>
<nav><a href="/docs">Scopegate API</a> / <a href="/docs/errors">Errors</a></nav>
{body}
</html>
"""


@router.get("/errors", operation_id="list_error_pages")
@router.get("/errors/", operation_id="list_error_pages_below")
async def get_error_pages() -> HTMLResponse:
    """The list of all codes."""
    items = "".join(
        f'<li><a href="/docs/errors/{code}"><code>{code}</code></a></li>' for code in error_codes()
    )
    return HTMLResponse(
        _ERROR_PAGE.format(title="All", body=f"<h1>Errors</h1><ul>{items}</ul>"), headers=_ERROR_HEADERS
    )


@router.get("/errors/{code}", operation_id="get_error_page")
async def get_error_page(code: str) -> HTMLResponse:
    """The causes of an error, how to fix it, and an example."""
    # Checked against the existing codes, since the path is the caller's input.
    if code not in error_codes():
        raise NotFound("There is no such error code; /docs/errors lists all.")
    return HTMLResponse(_render_error(code), headers=_ERROR_HEADERS)


def error_codes() -> list[str]:
    """The codes with a page, in alphabetical order."""
    return sorted(path.stem for path in _error_folder().glob("*.md"))


@cache
def _render_error(code: str) -> str:
    text = _ELSEWHERE.sub(r"\1", (_error_folder() / f"{code}.md").read_text(encoding="utf-8"))
    return _ERROR_PAGE.format(title=escape(code), body=MarkdownIt("commonmark", {"html": False}).render(text))


@cache
def _error_folder() -> Path:
    """The pages are next to the package in a checkout, and inside the package in an installed wheel."""
    package = Path(__file__).resolve().parents[1]
    checkout = package.parent / "docs" / "errors"
    return checkout if checkout.exists() else package / "_errors"
