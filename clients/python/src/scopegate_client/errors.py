"""What can go wrong. Catch ``ScopegateError`` for all of it, ``ApiError`` for what the service answered."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_VALIDATION = 422


class ScopegateError(Exception):
    """Whatever this package raises by itself."""

    def __reduce__(self) -> tuple[Any, ...]:
        # The arguments of __init__ are not those that Exception keeps: without this, no copy and no pickle.
        return _remade, (type(self), self.args, self.__dict__)


def _remade(kind: type[ScopegateError], arguments: tuple[Any, ...], state: dict[str, Any]) -> ScopegateError:
    error = kind.__new__(kind, *arguments)
    error.__dict__.update(state)
    return error


class ConfigurationError(ScopegateError):
    """The client cannot start with these arguments and environment variables."""


class InvalidArgument(ScopegateError, ValueError):
    """An argument that cannot be sent, so nothing was."""


class SecretNotShown(ScopegateError):
    """The secret was shown once, in an answer that got lost."""


class ConnectionFailed(ScopegateError):
    """Scopegate could not be reached, or the connection broke. Retries, where they are safe, did not help."""


class SignInFailed(ScopegateError):
    """The client id and secret were refused. ``code`` is OAuth's: ``invalid_client`` for a bad secret."""

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


class UnexpectedAnswer(ScopegateError):
    """What answered is not Scopegate, or is one that this version of the package cannot read."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field of the request."""

    pointer: str
    """A JSON pointer into the body, or ``?name`` of a query parameter."""
    code: str
    detail: str


class ApiError(ScopegateError):
    """Scopegate refused. Go by ``code``, which does not change; ``detail`` says what to do about it."""

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
        """Names the request in the audit trail and in the service's log."""
        self.errors = tuple(errors)
        """One for each field that is wrong, for ``ValidationFailed``."""
        self.retry_after = retry_after
        """In how many seconds it makes sense to ask again, where the service said."""
        super().__init__(self._sentence())

    def _sentence(self) -> str:
        # What is wrong with each field says more than that something is.
        fields = "; ".join(f"{error.pointer}: {error.detail}" for error in self.errors)
        what = fields if fields and self.status == _VALIDATION else self.detail.rstrip()
        request = f", {self.request_id}" if self.request_id else ""
        return f"{what} ({self.status} {self.code}{request})"


class BadRequest(ApiError):
    """400: the request cannot be read, as with a cursor of another list."""


class Unauthenticated(ApiError):
    """401: the credential is missing, unknown, expired or revoked."""


class PermissionDenied(ApiError):
    """403: the caller's role lacks the permission that the detail names."""


class NotFound(ApiError):
    """404: there is no such object, it has ended, or the caller may not know of it."""


class Conflict(ApiError):
    """409: the change collides with how things are; ``code`` says how."""


class PreconditionFailed(ApiError):
    """412: somebody changed the object since the revision in ``if_match`` was read."""


class ValidationFailed(ApiError):
    """422: fields are not acceptable; ``errors`` names each."""


class PreconditionRequired(ApiError):
    """428: this change needs ``if_match``."""


class RateLimited(ApiError):
    """429: too much at once, and waiting did not help; ``retry_after`` says how long it would take."""


class ServerFault(ApiError):
    """5xx: a fault of Scopegate, or of something before it. Report it with the ``request_id``."""


class Unavailable(ServerFault):
    """503: Scopegate cannot serve now; nothing was changed."""


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
    """The class of the error that an answer with this status becomes."""
    return _BY_STATUS.get(status, ServerFault if status >= 500 else ApiError)
