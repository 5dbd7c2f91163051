"""What a body may be written in: JSON, and for a change also a merge patch by its own name (RFC 7396)."""

import email.message

from fastapi import Request
from starlette.exceptions import HTTPException

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"


def check_media_type(request: Request) -> None:
    """Raise a 415 for a body that is not JSON, does not say so, or is compressed."""
    if not _has_body(request):
        return
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise HTTPException(415, "Compressed bodies are not taken", {"Accept-Encoding": "identity"})
    taken = (JSON, MERGE_PATCH) if request.method == "PATCH" else (JSON,)
    message = email.message.Message()
    message["content-type"] = request.headers.get("content-type", "text/plain")
    if message.get_content_type() not in taken:
        names = ", ".join(taken)
        headers = {"Accept-Patch" if request.method == "PATCH" else "Accept": names}
        raise HTTPException(415, f"Send the body as {' or '.join(taken)}", headers)


def _has_body(request: Request) -> bool:
    length = request.headers.get("content-length", "0")
    return length != "0" or "transfer-encoding" in request.headers
