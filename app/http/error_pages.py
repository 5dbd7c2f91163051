"""``/docs/errors``: a page for each problem code, so that the ``type`` of a problem can be opened on any service."""

import re
from functools import cache
from html import escape
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import HTMLResponse
from markdown_it import MarkdownIt

from app.domain.errors import NotFound

router = APIRouter(prefix="/docs/errors", include_in_schema=False)

# A link to another document, which the service does not have: only its text is kept.
_ELSEWHERE = re.compile(r"\[([^\]]+)\]\(\.\./[^)]+\)")
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "Cache-Control": "public, max-age=3600",
}
_PAGE = """<!doctype html>
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


@router.get("", operation_id="list_error_pages")
@router.get("/", operation_id="list_error_pages_below")
async def get_index() -> HTMLResponse:
    """The list of all codes."""
    items = "".join(f'<li><a href="/docs/errors/{code}"><code>{code}</code></a></li>' for code in codes())
    return HTMLResponse(_PAGE.format(title="All", body=f"<h1>Errors</h1><ul>{items}</ul>"), headers=_HEADERS)


@router.get("/{code}", operation_id="get_error_page")
async def get_page(code: str) -> HTMLResponse:
    """The causes of an error, how to fix it, and an example."""
    # Checked against the existing codes, since the path is the caller's input.
    if code not in codes():
        raise NotFound("There is no such error code; /docs/errors lists all.")
    return HTMLResponse(_render(code), headers=_HEADERS)


def codes() -> list[str]:
    """The codes with a page, in alphabetical order."""
    return sorted(path.stem for path in _folder().glob("*.md"))


@cache
def _render(code: str) -> str:
    text = _ELSEWHERE.sub(r"\1", (_folder() / f"{code}.md").read_text(encoding="utf-8"))
    return _PAGE.format(title=escape(code), body=MarkdownIt("commonmark", {"html": False}).render(text))


@cache
def _folder() -> Path:
    """The pages are next to the package in a checkout, and inside the package in an installed wheel."""
    package = Path(__file__).resolve().parents[1]
    checkout = package.parent / "docs" / "errors"
    return checkout if checkout.exists() else package / "_errors"
