"""What the operations of one SCIM request share.

Large bodies are read in a thread beside the event loop: twenty thousand members take a second to be checked, and the
calls that a worker carries go on meanwhile. One thread, so that several such bodies wait for one another and not the
calls for all of them.

Our errors in the form of RFC 7644 section 3.12.
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
from app.db.change import savepoint
from app.domain import errors
from app.domain.errors import DomainError, Unavailable
from app.features.identity_providers.schemas import ScimSettings
from app.http.authorization import Caller
from app.http.problems import STATUS
from app.lib.clock import Clock


@dataclass(slots=True)
class Work:
    """One request of the service account of a provider, in one transaction.

    ``effects`` are the ids, as the API writes them, of what the request changed; an operation that changes something
    adds to it.
    """

    session: AsyncSession
    caller: Caller
    provider_id: UUID
    settings: ScimSettings
    clock: Clock
    signer: Signer
    request_id: str | None
    effects: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def operation(self) -> AsyncIterator[None]:
        """One operation: what fails is undone alone, so that a bulk request can go on."""
        before = len(self.effects)
        try:
            async with savepoint(self.session):
                yield
        except BaseException:
            del self.effects[before:]
            raise


LARGE = 1 << 15
"""Octets of a body that takes longer to be read than a thread costs."""


Result = TypeVar("Result")
MOST_AT_ONCE = 4
"""Read or waiting. Each holds a connection of those that all requests share."""
_reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="scim-bodies")
_places = MOST_AT_ONCE


async def read_apart(body: bytes, read: Callable[[], Result]) -> Result:
    """What ``read``, which is pure, makes of a body. Raises what it raises, and ``Unavailable`` where too many wait."""
    global _places  # noqa: PLW0603
    if len(body) <= LARGE:
        return read()
    if _places == 0:
        raise Unavailable("Other large bodies are being read; repeat the request shortly.")
    _places -= 1
    try:
        return await asyncio.get_running_loop().run_in_executor(_reader, copy_context().run, read)
    finally:
        _places += 1


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
