"""RFC 9457 problem documents, and the one map from domain errors to HTTP statuses."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, TypeAlias, cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from app.domain import errors
from app.domain.errors import DomainError, FieldError
from app.http.schemas import Strict

MEDIA_TYPE = "application/problem+json"
# Each code has a page at the service itself (see ``http.docs_pages``), under any address.
DOCS = "/docs/errors/"
MAX_ERRORS = 100
"""The maximum of invalid fields in a response."""

STATUS: tuple[tuple[type[DomainError], int, str], ...] = (
    (errors.Malformed, 400, "Bad request"),
    (errors.Unauthenticated, 401, "Not authenticated"),
    (errors.Forbidden, 403, "Not permitted"),
    (errors.NotFound, 404, "Not found"),
    (errors.Conflict, 409, "Conflict"),
    (errors.PreconditionFailed, 412, "Precondition failed"),
    (errors.Invalid, 422, "Invalid request"),
    (errors.PreconditionRequired, 428, "Precondition required"),
    (errors.TooManyRequests, 429, "Too many requests"),
    (errors.Unavailable, 503, "Temporarily unavailable"),
)
# The code, title and default text of HTTP errors without a domain error.
_HTTP = {
    400: ("malformed_request", "Bad request", "The body cannot be read: send JSON in UTF-8."),
    404: ("not_found", "Not found", "This path does not exist: see /docs for the API."),
    405: ("method_not_allowed", "Method not allowed", "This path does not support the method: see Allow."),
    413: ("body_too_large", "Body too large", None),
    415: ("unsupported_media_type", "Unsupported media type", None),
}


class ProblemError(Strict):
    """One invalid field."""

    pointer: str = Field(
        description="JSON pointer into the body (RFC 6901), or `?name` of a query parameter.",
        examples=["/expires_at"],
    )
    code: str = Field(description="The kind of error, stable, snake_case.", examples=["required"])
    detail: str = Field(description="The error, and how to correct it.", examples=["Field required"])
    line: int | None = Field(
        default=None, description="In a text of several lines, the line, from 1.", examples=[2]
    )
    column: int | None = Field(
        default=None, description="In a text of several lines, the column, from 1.", examples=[14]
    )


class Problem(Strict):
    """RFC 9457 problem details."""

    type: str = Field(
        description="A page of the documentation for this code.", examples=["/docs/errors/slug_taken"]
    )
    title: str = Field(description="The kind of error in words.", examples=["Conflict"])
    status: int = Field(description="The HTTP status.", examples=[409])
    detail: str = Field(
        description="The error, and how to correct it.",
        examples=["The slug git is in use; choose another."],
    )
    instance: str = Field(description="The path of the request.", examples=["/api/v1/servers"])
    code: str = Field(description="Stable, snake_case.", examples=["slug_taken"])
    request_id: str = Field(
        description="The id of the request, for support.",
        examples=["req_01936d5e7c0070008000000000000000"],
    )
    errors: list[ProblemError] = Field(default_factory=list, description="The invalid fields.")


ErrorForm: TypeAlias = Callable[[Request, int, str, Mapping[str, str]], Response]
"""Renders an error in a foreign protocol, from its status, text and headers."""


def problem(
    request: Request,
    status: int,
    title: str,
    code: str,
    detail: str,
    errors: Sequence[FieldError] = (),
    headers: dict[str, str] | None = None,
) -> Response:
    """Build a problem response; ``instance`` is only the path, since a query could contain secrets.

    Below the path of a foreign protocol it is rendered by that protocol.
    """
    form: ErrorForm | None = getattr(request.state, "error_form", None)
    if form is not None:
        return form(request, status, detail, headers or {})
    request_id = getattr(request.state, "request_id", "")
    body = {
        "type": DOCS + code,
        "title": title,
        "status": status,
        "detail": detail,
        "instance": request.url.path.encode("ascii", "backslashreplace").decode(),
        "code": code,
        "request_id": request_id,
        "errors": [
            {name: value for name, value in asdict(error).items() if value is not None} for error in errors
        ],
    }
    return JSONResponse(body, status, headers, MEDIA_TYPE)


def _domain(request: Request, error: Exception) -> Response:
    error = cast("DomainError", error)
    status, title = next((s, t) for kind, s, t in STATUS if isinstance(error, kind))
    headers = {}
    if isinstance(error, errors.Unauthenticated):
        headers["WWW-Authenticate"] = 'Bearer realm="scopegate"'
    if isinstance(error, errors.KeyInFlight | errors.RetryableError):
        headers["Retry-After"] = str(error.retry_after_s)
    return problem(request, status, title, error.code, error.detail, error.errors, headers)


def _pointer(location: Sequence[object]) -> str:
    if location and location[0] == "body":
        return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in location[1:])
    return "?" + ".".join(str(part) for part in location[1:])


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\x00")


def field_errors(items: Sequence[Any]) -> list[FieldError]:
    """Pydantic's errors, with locations that begin with ``body`` or ``query``."""
    # A body can have tens of thousands of invalid fields, and its sender may be unauthenticated.
    return [
        FieldError(
            _printable(_pointer(item["loc"])),
            {"extra_forbidden": "unknown_field", "missing": "required"}.get(item["type"], item["type"]),
            _printable(item["msg"].removeprefix("Value error, ")),
        )
        for item in items[:MAX_ERRORS]
    ]


def _validation(request: Request, error: Exception) -> Response:
    invalid = field_errors(cast("RequestValidationError", error).errors())
    names = ", ".join(sorted({e.pointer or "/" for e in invalid}))
    detail = f"These fields are invalid: {names}. See errors for details."
    return problem(request, 422, "Invalid request", "validation_failed", detail, invalid)


def _http(request: Request, error: Exception) -> Response:
    error = cast("HTTPException", error)
    status, words = error.status_code, str(error.detail)
    code, title, detail = _HTTP.get(status, (f"http_{status}", words, None))
    headers = dict(error.headers or {})
    if status == 405:
        headers["Allow"] = ", ".join(_allowed(request))
    return problem(request, status, title, code, detail or f"{words}.", headers=headers)


def _allowed(request: Request) -> list[str]:
    """List the methods of a path. Routing only knows those of the first matching route, and each method is a route.

    A fixed path (``/tokens/bulk-revoke``) has its own methods, not those of an object with this last segment.
    """
    path = request.url.path
    routes = [
        route
        for route in iter_route_contexts(request.app.routes)
        if route.methods and route.path_regex.match(path)
    ]
    fixed = [route for route in routes if route.path == path]
    return sorted({method for route in fixed or routes for method in route.methods or ()})


UNEXPECTED = (500, "Internal error", "internal_error", "Something unexpected failed; report the request id.")
"""The response to an unexpected error: its status, title, code and detail."""


def _unexpected(request: Request, _error: Exception) -> Response:
    # Starlette raises the error again after this response; ``RequestLimits`` logs it.
    return problem(request, *UNEXPECTED)


def install(app: FastAPI) -> None:
    """Render every error of this application as a problem document."""
    app.add_exception_handler(Exception, _unexpected)
    app.add_exception_handler(DomainError, _domain)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The documented error responses of an operation, under their media type.

    ``http.openapi`` adds those that follow from the inputs of an operation. Routes declare the others, such as 409.
    """
    schema = {"$ref": "#/components/schemas/Problem"}
    titles = {status: title for _, status, title in STATUS}
    return {
        status: {"description": titles.get(status, "Error"), "content": {MEDIA_TYPE: {"schema": schema}}}
        for status in statuses
    }
