"""Entity tags of single objects (RFC 9110 section 8.8.3): the revision, quoted, always strong."""

import re

from fastapi import Request, Response

from app.domain.errors import PreconditionFailed

_TAG = re.compile(r'(W/)?"([^"]*)"')


def set_etag(response: Response, revision: int) -> None:
    """Name the revision of the object that this response shows."""
    response.headers["ETag"] = f'"{revision}"'


def check_if_match(request: Request, revision: int) -> None:
    """Raise ``PreconditionFailed`` when ``If-Match`` is there and does not name this revision.

    Strong comparison (RFC 9110 section 13.1.1): a weak tag never matches, ``*`` always does. Call it with the row
    locked, or two writers that hold the same tag could both pass.
    """
    values = request.headers.getlist("if-match")
    if not values:
        return
    text = ", ".join(values).strip()
    strong = {tag for weak, tag in _TAG.findall(text) if not weak}
    if text != "*" and str(revision) not in strong:
        raise PreconditionFailed(
            "If-Match names another revision than the current one: read the object again and repeat the change."
        )
