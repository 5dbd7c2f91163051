"""Our errors in the form of RFC 7644 section 3.12."""

from fastapi import Response
from pydantic import ValidationError
from scim2_models import Error, SCIMException
from scim2_server.responses import SCIM_MEDIA_TYPE

from app.domain import errors
from app.domain.errors import DomainError
from app.http.problems import STATUS

# What collides by a name that is taken; other conflicts have no keyword.
_UNIQUE = frozenset({"user_name_taken", "external_id_taken", "name_taken"})
# RFC 7644 has no 422: a value that is not acceptable is a bad request there.
_BAD_REQUEST = {422: 400}


def error_of(error: SCIMException | DomainError) -> Error:
    """The SCIM error of an exception that somebody can understand and mend."""
    if isinstance(error, SCIMException):
        told = error.to_error()
        if isinstance(error.__cause__, ValidationError):
            # Its text has several lines, and a link to a page of a library.
            told.detail = Error.from_validation_errors(error.__cause__)[0].detail
        return told
    status = next(status for kind, status, _ in STATUS if isinstance(error, kind))
    scim_type = None
    if isinstance(error, errors.Invalid):
        scim_type = "invalidValue"
    elif isinstance(error, errors.Malformed):
        scim_type = "invalidSyntax"
    elif isinstance(error, errors.Conflict) and error.code in _UNIQUE:
        scim_type = "uniqueness"
    return Error(status=_BAD_REQUEST.get(status, status), scim_type=scim_type, detail=error.detail)


def headers_of(error: SCIMException | DomainError) -> dict[str, str]:
    """What goes with the answer of an error."""
    if isinstance(error, errors.Unauthenticated):
        return {"WWW-Authenticate": 'Bearer realm="scopegate"'}
    if isinstance(error, errors.KeyInFlight | errors.TooManyRequests | errors.Unavailable):
        return {"Retry-After": str(error.retry_after_s)}
    allowed = getattr(error, "allowed", None)
    return {"Allow": ", ".join(allowed)} if allowed else {}


def answer(error: Error, headers: dict[str, str] | None = None) -> Response:
    """The answer that carries a SCIM error."""
    return Response(error.model_dump_json(), error.status or 500, headers, SCIM_MEDIA_TYPE)
