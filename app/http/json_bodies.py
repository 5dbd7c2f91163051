"""JSON bodies of the REST API, read by the strict reader before FastAPI would read them with the standard library's."""

from typing import Any

from fastapi import Request

from app.domain.errors import FieldError, Malformed
from app.lib.off_loop import is_large, off_loop
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
