"""Domain errors: a stable ``code`` and a readable message, without a transport status.

Each interface (REST, OAuth, JSON-RPC) maps these classes to its own format.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FieldError:
    """An invalid field. ``pointer`` is a JSON Pointer (RFC 6901) into the request body (``/expires_at``), or ``?name``
    for a query parameter. ``line`` and ``column``, from 1, are the position in a multi-line text."""

    pointer: str
    code: str
    detail: str
    line: int | None = None
    column: int | None = None


class DomainError(Exception):
    """The base of all errors that a caller can understand and fix.

    ``code`` is stable snake_case; ``detail`` says what is wrong and how to fix it, without secrets.
    """

    code = "error"

    def __init__(self, detail: str, *, code: str | None = None, errors: Sequence[FieldError] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        if code is not None:
            self.code = code
        self.errors = tuple(errors)


class Malformed(DomainError):
    """The request is malformed (invalid cursor, invalid parameter)."""

    code = "malformed_request"


class Invalid(DomainError):
    """The request is well-formed but contains an invalid value; ``errors`` names the fields."""

    code = "validation_failed"

    @classmethod
    def field(cls, pointer: str, code: str, detail: str) -> "Invalid":
        """A validation error of a single field."""
        return cls(detail, errors=(FieldError(pointer, code, detail),))


class Unauthenticated(DomainError):
    """The credential is missing, unknown, expired or revoked. The response is the same for all, so nothing leaks."""

    code = "unauthenticated"


class Forbidden(DomainError):
    """The caller lacks a permission, which the detail names."""

    code = "forbidden"


class NotFound(DomainError):
    """The object does not exist, or the caller may not know that it exists."""

    code = "not_found"


class Conflict(DomainError):
    """The change conflicts with the present state (used slug, ended object)."""

    code = "conflict"


class KeyInFlight(Conflict):
    """A request with the same idempotency key is still running. It is safe to repeat it later."""

    code = "idempotency_in_flight"
    retry_after_s = 1


class PreconditionFailed(DomainError):
    """``If-Match`` does not name the current revision."""

    code = "revision_mismatch"


class PreconditionRequired(DomainError):
    """The change needs ``If-Match``, so that it cannot overwrite changes that the caller has not seen."""

    code = "precondition_required"


class RetryableError(DomainError):
    """An error that passes; ``retry_after_s`` says when to retry."""

    def __init__(self, detail: str, *, retry_after_s: int = 1, code: str | None = None) -> None:
        super().__init__(detail, code=code)
        self.retry_after_s = retry_after_s


class TooManyRequests(RetryableError):
    """A limit was reached."""

    code = "rate_limited"


class Unavailable(RetryableError):
    """A dependency (the database) is unavailable. It is safe to repeat the request later."""

    code = "unavailable"


class StoreUnavailable(Exception):
    """The database cannot be used now: answer 503 and allow nothing. The text says why, if known."""


class TooManyLookups(Exception):
    """The budget for lookups of unknown credentials is used up: answer 429."""
