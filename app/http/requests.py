"""Parsing of requests: query parameters, JSON bodies and media types.

A query parameter that is not a list may be given once, since further values would be dropped silently. JSON bodies are
parsed strictly, before FastAPI would use the standard library. They are JSON, or merge patches (RFC 7396) for changes.
"""

import email.message
from collections import Counter
from collections.abc import Iterable
from typing import Any, get_origin

from fastapi import Request
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from app.domain.errors import FieldError, Invalid, Malformed
from app.http.problems import MAX_ERRORS
from app.lib.event_loop import is_large, off_loop
from app.lib.strict_json import JsonValue, StrictJsonError, loads

MAX_DEPTH = 128
"""Open objects and arrays. A tool's schema may have 64 levels within its body."""


class ReadRequest(Request):
    """A request with its parsed JSON body as ``value``."""

    def __init__(self, request: Request, body: bytes, value: JsonValue) -> None:
        super().__init__(request.scope, request.receive)
        self._body = body
        self.value = value

    async def json(self) -> Any:
        return self.value


async def read_json(request: Request) -> Request:
    """Parse the JSON body strictly; requests without one are returned unchanged. Raises ``Malformed``."""
    body = await request.body()
    if not body:
        return request
    try:
        large = is_large(body)
        value = (
            await off_loop(loads, body, max_depth=MAX_DEPTH) if large else loads(body, max_depth=MAX_DEPTH)
        )
    except StrictJsonError as error:
        raise Malformed(
            f"The body cannot be read: {error.message} Send JSON that has one meaning (RFC 7493), in UTF-8.",
            code="invalid_json",
            errors=[FieldError("", error.code, error.message)],
        ) from None
    return ReadRequest(request, body, value)


JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"


def check_media_type(request: Request) -> None:
    """Raise a 415 for a body that is compressed, not JSON, or without a media type."""
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


def repeatable_names(parameters: Iterable[Any]) -> frozenset[str]:
    """The names of a route's query parameters that are lists and may be repeated."""
    types: dict[str, Any] = {}
    for parameter in parameters:
        annotation = parameter.field_info.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            types |= {name: field.annotation for name, field in annotation.model_fields.items()}
        else:
            types[parameter.name] = annotation
    return frozenset(name for name, annotation in types.items() if get_origin(annotation) is list)


def check_repeats(request: Request, repeatable: frozenset[str]) -> None:
    """Raise ``Invalid`` for repeated parameters that are not lists."""
    # Runs before authentication: thousands of parameters must not cost more than their parsing.
    given = Counter(name for name, _ in request.query_params.multi_items())
    repeated = sorted({name for name, times in given.items() if times > 1} - repeatable)[:MAX_ERRORS]
    if repeated:
        errors = [FieldError(f"?{name}", "repeated", "Give this once.") for name in repeated]
        raise Invalid("These parameters may be given once: " + ", ".join(repeated) + ".", errors=errors)
