"""``POST /ssf/events``: events as transmitters push them (RFC 8935).

Event tokens that were not taken, on record: the first of a kind at once, the others of its minute as one event.

What both ways of delivery share: checking an event token, and who is told what of those that are refused.
"""

import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.adapters.ssf.event_token import MEDIA_TYPE, check_event_token
from app.adapters.ssf.transmitters import Transmitters
from app.crypto.jose.keys import ProviderKeys
from app.crypto.jose.token import MOST_CHARACTERS
from app.db.engine import OUT_OF_REACH, commit, out_of_reach
from app.domain.errors import DomainError, Forbidden, TooManyRequests, Unauthenticated, Unavailable
from app.domain.security_events import SecurityEvent
from app.features.identity_providers.provisioning import Surface, provider_served
from app.features.identity_providers.signals import queries
from app.features.identity_providers.signals.manage import PUSH_PATH
from app.features.identity_providers.signals.receive import Acting, receive, refuse
from app.features.identity_providers.signals.streams import (
    Configured,
    ErrorCode,
    Transmitter,
    Unacceptable,
    configured,
)
from app.http.authorization import Caller, Permission, requires
from app.http.runtime import CurrentRuntime
from app.http.transaction import Session, TransactionalRoute
from app.models.identity_providers import IdentityProvider

WINDOW_S = 60.0
_Kind = tuple[Caller, UUID | None, ErrorCode]


class RefusedEvents:
    """Counts for one worker. Whoever sends has signed in, so kinds are few."""

    def __init__(
        self, sessions: async_sessionmaker[AsyncSession], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._sessions = sessions
        self._clock = clock
        self._ends: dict[_Kind, float] = {}
        self._counts: Counter[_Kind] = Counter()

    async def note(
        self, caller: Caller, provider_id: UUID | None, code: ErrorCode, request_id: str | None
    ) -> None:
        """One was refused. Raises ``Unavailable`` when that cannot be written down."""
        kind = (caller, provider_id, code)
        if self._ends.get(kind, 0.0) > self._clock():
            self._counts[kind] += 1
            return
        await self._write(kind, 1, request_id)
        self._ends[kind] = self._clock() + WINDOW_S

    async def flush(self, *, all: bool = False) -> None:
        """Write down what was counted in minutes that are over; of those that are not, if it is the last chance."""
        now = self._clock()
        for kind in [kind for kind, end in self._ends.items() if all or end <= now]:
            end, count = self._ends[kind], self._counts[kind]
            if count:
                await self._write(kind, count, None)
            # Not before it is written: a database that is away must not lose them. More may have come meanwhile.
            self._counts[kind] -= count
            if self._ends[kind] == end and not self._counts[kind]:
                del self._ends[kind], self._counts[kind]

    async def _write(self, kind: _Kind, count: int, request_id: str | None) -> None:
        caller, provider_id, code = kind
        async with self._sessions() as session:
            await refuse(session, caller, provider_id, code, count=count, request_id=request_id)
            await commit(session)


@dataclass(frozen=True, slots=True)
class Receiver:
    """Shared services of one worker, on ``app.state.signals``."""

    transmitters: Transmitters
    keys: ProviderKeys[Transmitter]
    refused: RefusedEvents

    async def check(self, found: Configured, text: str, now: float) -> tuple[SecurityEvent, frozenset[str]]:
        """The event of a token, and which members of its subject have to be gone by.

        ``now`` is the database's clock. No connection to it may be held meanwhile: the transmitter may be asked for
        its keys. Raises ``Unacceptable``, and ``Unavailable`` without keys.
        """
        event = await check_event_token(text, found, self.keys, now)
        return event, self.transmitters.critical_of(found.transmitter)


async def get_receiver(request: Request) -> Receiver:
    receiver: Receiver = request.app.state.signals
    return receiver


CurrentReceiver = Annotated[Receiver, Depends(get_receiver)]


_TAKEN = f"application/{MEDIA_TYPE}"
_SAID = "signal_provider"


class _NotAnEvent(Unacceptable):
    """A request that cannot hold an event token, whatever is in it."""

    def __init__(self, status: int, description: str) -> None:
        super().__init__("invalid_request", description)
        self.status = status


class SignalRoute(TransactionalRoute):
    """Answers every error in the form of RFC 8935 section 2.3, and puts refusals on record."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await _recorded(request, handle)
            except (Unacceptable, DomainError) as error:
                return _answer(error)
            except OUT_OF_REACH:
                # What is left over where a refusal cannot be written down.
                return _answer(out_of_reach())

        return answer


async def _recorded(request: Request, handle: Callable[[Request], Coroutine[Any, Any, Response]]) -> Response:
    """The answer to a request; that it was refused, if its caller is known, is on record before it is told."""
    try:
        return await handle(request)
    except (Unacceptable, DomainError) as error:
        caller: Caller | None = getattr(request.state, "caller", None)
        if caller is not None and isinstance(error, Unacceptable | Forbidden):
            receiver: Receiver = request.app.state.signals
            provider_id: UUID | None = getattr(request.state, _SAID, None)
            code = error.code if isinstance(error, Unacceptable) else "access_denied"
            await receiver.refused.note(caller, provider_id, code, request.state.request_id)
        raise


def _answer(error: Unacceptable | DomainError) -> JSONResponse:
    if isinstance(error, Unacceptable):
        status = error.status if isinstance(error, _NotAnEvent) else 400
        return _error(status, error.code, error.description)
    if isinstance(error, Unauthenticated):
        headers = {"WWW-Authenticate": 'Bearer realm="scopegate"'}
        return _error(401, "authentication_failed", error.detail, headers)
    if isinstance(error, Forbidden):
        return _error(403, "access_denied", error.detail)
    if isinstance(error, TooManyRequests | Unavailable):
        status = 429 if isinstance(error, TooManyRequests) else 503
        return _error(status, "access_denied", error.detail, {"Retry-After": str(error.retry_after_s)})
    return _error(400, "invalid_request", error.detail)


def _error(status: int, code: str, description: str, headers: dict[str, str] | None = None) -> JSONResponse:
    sent = {"Content-Language": "en", **(headers or {})}
    return JSONResponse({"err": code, "description": description}, status, sent)


router = APIRouter(include_in_schema=False, route_class=SignalRoute)
Pusher = Annotated[Caller, requires(Permission.IDENTITIES_OFFBOARD, machine=True)]


@router.post(PUSH_PATH, operation_id="take_event")
async def take_event(
    request: Request, caller: Pusher, session: Session, runtime: CurrentRuntime, receiver: CurrentReceiver
) -> Response:
    """Take an event. The answer is 202 once all that follows from it is committed, and for a repeat as well."""
    provider, found = await _served(session, caller)
    setattr(request.state, _SAID, provider.id)
    now = (await queries.database_now(session)).timestamp()
    # No connection to the database is held while the body comes, and the transmitter is asked for its keys.
    await session.commit()
    text = await _token_of(request)
    event, critical = await receiver.check(found, text, now)
    provider, still = await _served(session, caller)
    if still != found:
        raise Unavailable("The settings of this provider have just changed; repeat the request.")
    acting = Acting(session, caller, runtime.signer, request.state.request_id)
    await receive(acting, provider, event, critical)
    return Response(status_code=202)


async def _served(session: AsyncSession, caller: Caller) -> tuple[IdentityProvider, Configured]:
    provider = await provider_served(session, Surface.SIGNALS, caller)
    found = configured(provider)
    if found is None:
        raise Forbidden("The signals settings of this provider name no issuer.")
    return provider, found


async def _token_of(request: Request) -> str:
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise _NotAnEvent(415, "Compressed bodies are not taken.")
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _TAKEN:
        raise _NotAnEvent(415, f"Send the event token as {_TAKEN}.")
    body = (await request.body()).strip()
    if len(body) > MOST_CHARACTERS:
        raise _NotAnEvent(413, f"An event token has at most {MOST_CHARACTERS} characters.")
    return body.decode("ascii", "replace")
