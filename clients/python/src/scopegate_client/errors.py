"""The exceptions. ``ScopegateError`` is the base of all, ``ApiError`` of error responses of the service."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_VALIDATION = 422


class ScopegateError(Exception):
    """The base of all exceptions of this package."""

    def __reduce__(self) -> tuple[Any, ...]:
        # The arguments of __init__ differ from those that Exception stores, so copy and pickle need this.
        return _remade, (type(self), self.args, self.__dict__)


def _remade(kind: type[ScopegateError], arguments: tuple[Any, ...], state: dict[str, Any]) -> ScopegateError:
    error = kind.__new__(kind, *arguments)
    error.__dict__.update(state)
    return error


class ConfigurationError(ScopegateError):
    """The client cannot start with these arguments and environment variables."""


class InvalidArgument(ScopegateError, ValueError):
    """An argument that cannot be sent; no request was made."""


class SecretNotShown(ScopegateError):
    """The secret was shown once, in a response that was lost."""


class ConnectionFailed(ScopegateError):
    """Scopegate could not be reached, or the connection broke, also after the retries that are safe."""


class SignInFailed(ScopegateError):
    """The client id and secret were refused. ``code`` is OAuth's: ``invalid_client`` for a bad secret."""

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


class UnexpectedAnswer(ScopegateError):
    """The response is not from Scopegate, or this version of the package cannot parse it."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """The error of one field of the request."""

    pointer: str
    """A JSON pointer into the body, or ``?name`` of a query parameter."""
    code: str
    detail: str


class ApiError(ScopegateError):
    """Scopegate refused the request. Use ``code``, which does not change; ``detail`` explains what to do."""

    def __init__(
        self,
        detail: str,
        *,
        status: int,
        code: str,
        request_id: str | None = None,
        errors: Sequence[FieldError] = (),
        retry_after: float | None = None,
    ) -> None:
        self.detail = detail
        self.status = status
        self.code = code
        self.request_id = request_id
        """The id of the request in the audit log and in the service's log."""
        self.errors = tuple(errors)
        """The errors of fields, for ``ValidationFailed``."""
        self.retry_after = retry_after
        """The seconds after which to repeat the request, if the service sent them."""
        super().__init__(self._sentence())

    def _sentence(self) -> str:
        # The errors of fields are more specific than the detail.
        fields = "; ".join(f"{error.pointer}: {error.detail}" for error in self.errors)
        what = fields if fields and self.status == _VALIDATION else self.detail.rstrip()
        request = f", {self.request_id}" if self.request_id else ""
        return f"{what} ({self.status} {self.code}{request})"


class BadRequest(ApiError):
    """400: the request cannot be parsed, or has a cursor of another list."""


class Unauthenticated(ApiError):
    """401: the credential is missing, unknown, expired or revoked."""


class PermissionDenied(ApiError):
    """403: the caller's role lacks the permission that the detail names."""


class NotFound(ApiError):
    """404: the object does not exist, has ended, or is not visible to the caller."""


class Conflict(ApiError):
    """409: the change conflicts with the current state; ``code`` names the conflict."""


class PreconditionFailed(ApiError):
    """412: the object has changed since the revision in ``if_match``."""


class ValidationFailed(ApiError):
    """422: the request has invalid fields; ``errors`` names each."""


class PreconditionRequired(ApiError):
    """428: this change needs ``if_match``."""


class RateLimited(ApiError):
    """429: too many requests, also after waiting; ``retry_after`` is the remaining time in seconds."""


class ServerFault(ApiError):
    """5xx: a fault of Scopegate, or of a proxy. Report it with the ``request_id``."""


class Unavailable(ServerFault):
    """503: Scopegate is temporarily unavailable; nothing was changed."""


_BY_STATUS: dict[int, type[ApiError]] = {
    400: BadRequest,
    401: Unauthenticated,
    403: PermissionDenied,
    404: NotFound,
    409: Conflict,
    412: PreconditionFailed,
    422: ValidationFailed,
    428: PreconditionRequired,
    429: RateLimited,
    503: Unavailable,
}


def kind_of(status: int) -> type[ApiError]:
    """The exception class for the status of a response."""
    return _BY_STATUS.get(status, ServerFault if status >= 500 else ApiError)
