"""Query parameters that are given once: of two values, one would be dropped without a word.

JSON bodies of the REST API, read by the strict reader before FastAPI would read them with the standard library's.

What a body may be written in: JSON, and for a change also a merge patch by its own name (RFC 7396).
"""

import email.message
from collections import Counter
from collections.abc import Iterable
from typing import Any, get_origin

from fastapi import Request
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from app.domain.errors import FieldError, Invalid, Malformed
from app.http.problems import MOST_ERRORS
from app.lib.event_loop import is_large, off_loop
from app.lib.strict_json import JsonValue, StrictJsonError, loads

MAX_DEPTH = 128
"""Open objects and arrays. A tool's schema may have 64 of them within its body."""


class ReadRequest(Request):
    """A request whose JSON body has been read: ``value``."""

    def __init__(self, request: Request, body: bytes, value: JsonValue) -> None:
        super().__init__(request.scope, request.receive)
        self._body = body
        self.value = value

    async def json(self) -> Any:
        return self.value


async def read_json(request: Request) -> Request:
    """The request with its JSON body read strictly; as it was where it has none. Raises ``Malformed``."""
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


def repeatable_names(parameters: Iterable[Any]) -> frozenset[str]:
    """The names among a route's query parameters that may be given several times: those of lists."""
    types: dict[str, Any] = {}
    for parameter in parameters:
        annotation = parameter.field_info.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            types |= {name: field.annotation for name, field in annotation.model_fields.items()}
        else:
            types[parameter.name] = annotation
    return frozenset(name for name, annotation in types.items() if get_origin(annotation) is list)


def check_repeats(request: Request, repeatable: frozenset[str]) -> None:
    """Raise ``Invalid`` for a parameter that is given several times and cannot be."""
    # Before anybody is known: thousands of parameters must cost no more than reading them.
    given = Counter(name for name, _ in request.query_params.multi_items())
    repeated = sorted({name for name, times in given.items() if times > 1} - repeatable)[:MOST_ERRORS]
    if repeated:
        errors = [FieldError(f"?{name}", "repeated", "Give this once.") for name in repeated]
        raise Invalid("These parameters may be given once: " + ", ".join(repeated) + ".", errors=errors)
