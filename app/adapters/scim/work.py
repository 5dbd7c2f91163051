"""Shared parts of SCIM operations: the unit of work, parsing of large bodies, and SCIM errors.

Large bodies are parsed in a thread, since validating twenty thousand members takes a second and would block the calls
of the worker. There is one thread, so that such bodies wait for each other instead of slowing down calls.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import TypeVar
from uuid import UUID

from fastapi import Response
from pydantic import ValidationError
from scim2_models import Error, SCIMException
from scim2_server.responses import SCIM_MEDIA_TYPE
from sqlalchemy.ext.asyncio import AsyncSession

from app.crypto.signing import Signer
from app.db.change import Change, savepoint
from app.domain import errors
from app.domain.errors import DomainError, Unavailable
from app.features.identity_providers.schemas import ScimSettings
from app.http.problems import STATUS


@dataclass(slots=True)
class Work:
    """One request of a provider's service account, in one transaction.

    ``effects`` are the ids of changed objects, as the API formats them; each operation appends its own.
    """

    change: Change
    provider_id: UUID
    settings: ScimSettings
    signer: Signer
    effects: list[str] = field(default_factory=list)

    @property
    def session(self) -> AsyncSession:
        """The session of the change."""
        return self.change.session

    @asynccontextmanager
    async def operation(self) -> AsyncIterator[None]:
        """Run an operation in a savepoint, so that a bulk request continues after a failure."""
        before = len(self.effects)
        try:
            async with savepoint(self.session):
                yield
        except BaseException:
            del self.effects[before:]
            raise


MIN_THREADED_BYTES = 1 << 15
"""The size above which parsing a body takes longer than using a thread costs."""

Result = TypeVar("Result")
MAX_WAITING = 4
"""The maximum number of large bodies being parsed or waiting. Each holds a database connection."""
_reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="scim-bodies")
_places = asyncio.Semaphore(MAX_WAITING)


async def read_in_thread(body: bytes, read: Callable[[], Result]) -> Result:
    """Parse a body with ``read``, a pure function, in a thread if large. Raises ``Unavailable`` if too many wait."""
    if len(body) <= MIN_THREADED_BYTES:
        return read()
    if _places.locked():
        raise Unavailable("Other large bodies are being parsed. Repeat the request shortly.")
    async with _places:
        return await asyncio.get_running_loop().run_in_executor(_reader, copy_context().run, read)


# Conflicts of unique values; other conflicts have no SCIM type.
_UNIQUE = frozenset({"user_name_taken", "external_id_taken", "name_taken"})

# RFC 7644 does not use 422.
_BAD_REQUEST = {422: 400}


def error_of(error: SCIMException | DomainError) -> Error:
    """Map an exception to a SCIM error (RFC 7644 section 3.12)."""
    if isinstance(error, SCIMException):
        scim_error = error.to_error()
        if isinstance(error.__cause__, ValidationError):
            # The error's own text has several lines and a link to a library's documentation.
            scim_error.detail = Error.from_validation_errors(error.__cause__)[0].detail
        return scim_error
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
    """The response headers of an error."""
    if isinstance(error, errors.Unauthenticated):
        return {"WWW-Authenticate": 'Bearer realm="scopegate"'}
    if isinstance(error, errors.KeyInFlight | errors.TooManyRequests | errors.Unavailable):
        return {"Retry-After": str(error.retry_after_s)}
    allowed = getattr(error, "allowed", None)
    return {"Allow": ", ".join(allowed)} if allowed else {}


def answer(error: Error, headers: dict[str, str] | None = None) -> Response:
    """Build the response of a SCIM error."""
    return Response(error.model_dump_json(), error.status or 500, headers, SCIM_MEDIA_TYPE)
