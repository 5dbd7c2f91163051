"""Domain errors: a stable ``code`` and plain words, never a transport status.

Every face (REST, OAuth, JSON-RPC) maps the classes below to its own form once.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FieldError:
    """One wrong field. ``pointer`` is an RFC 6901 JSON pointer into the request body (``/expires_at``),
    or ``?name`` for a query parameter. In a text of several lines, ``line`` and ``column`` say where, from 1."""

    pointer: str
    code: str
    detail: str
    line: int | None = None
    column: int | None = None


class DomainError(Exception):
    """Base of all errors that a caller can understand and mend.

    ``code`` is stable snake_case; ``detail`` says what is wrong and how to mend it, without secrets.
    """

    code = "error"

    def __init__(self, detail: str, *, code: str | None = None, errors: Sequence[FieldError] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        if code is not None:
            self.code = code
        self.errors = tuple(errors)


class Malformed(DomainError):
    """The request cannot be read as asked (bad cursor, bad parameter)."""

    code = "malformed_request"


class Invalid(DomainError):
    """The request reads well but holds a value that is not acceptable; ``errors`` names the fields."""

    code = "validation_failed"

    @classmethod
    def field(cls, pointer: str, code: str, detail: str) -> "Invalid":
        """A validation error of a single field."""
        return cls(detail, errors=(FieldError(pointer, code, detail),))


class Unauthenticated(DomainError):
    """Missing, unknown, expired or revoked credential: one answer for all, so nothing leaks."""

    code = "unauthenticated"


class Forbidden(DomainError):
    """The caller is known and may not do this; the detail names the missing permission."""

    code = "forbidden"


class NotFound(DomainError):
    """The object does not exist, or the caller may not know that it does."""

    code = "not_found"


class Conflict(DomainError):
    """The change collides with the present state (taken slug, ended object)."""

    code = "conflict"


class KeyInFlight(Conflict):
    """A request with the same idempotency key has not been answered yet; repeating later is safe."""

    code = "idempotency_in_flight"
    retry_after_s = 1


class PreconditionFailed(DomainError):
    """``If-Match`` names a revision that is no longer the current one."""

    code = "revision_mismatch"


class PreconditionRequired(DomainError):
    """The change needs ``If-Match``: without it, it could overwrite what the caller has not seen."""

    code = "precondition_required"


class TooManyRequests(DomainError):
    """A limit was reached; ``retry_after_s`` says when to come back."""

    code = "rate_limited"

    def __init__(self, detail: str, *, retry_after_s: int = 1, code: str | None = None) -> None:
        super().__init__(detail, code=code)
        self.retry_after_s = retry_after_s


class Unavailable(DomainError):
    """A dependency (the database) cannot serve now; repeating later is safe."""

    code = "unavailable"

    def __init__(self, detail: str, *, retry_after_s: int = 1, code: str | None = None) -> None:
        super().__init__(detail, code=code)
        self.retry_after_s = retry_after_s
