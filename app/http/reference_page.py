"""``/docs``: the contract as pages, rendered by Redoc. This service serves all of its files."""

from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse, HTMLResponse, Response

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
