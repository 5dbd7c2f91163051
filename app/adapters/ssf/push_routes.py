"""``POST /ssf/events``: verify and process event tokens that transmitters push (RFC 8935, RFC 8417, SSF 1.0 section 4).

Cheap checks come first, so that an invalid token causes no fetch of keys. Nothing in a token is used, stored or
returned before its signature is verified. Refused event tokens are recorded: the first of a kind immediately, the
others of the same minute as one counted event.
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

from app.crypto import jwt
from app.db.change import Change
from app.db.clock import current_time
from app.db.engine import CONNECTION_ERRORS, commit, database_unavailable
from app.domain import security_events
from app.domain.errors import DomainError, Forbidden, TooManyRequests, Unauthenticated, Unavailable
from app.features.identity_providers.service import Surface, require_served_provider
from app.features.identity_providers.signals import streams
from app.features.identity_providers.signals.receive import receive, refuse
from app.features.identity_providers.signals.streams import Unacceptable
from app.features.identity_providers.signals.transmitters import Transmitter, Transmitters
from app.http.authorization import Caller, Permission, changes
from app.http.runtime import CurrentRuntime
from app.http.transaction import TransactionalRoute
from app.lib.strict_json import JsonObject
from app.models.identity_providers import IdentityProvider

SKEW_S = 60
MEDIA_TYPE = "secevent+jwt"
_MAX_JTI_LENGTH = 255

# SSF 1.0 section 4.1: prevents confusion between event tokens and access or ID tokens.
_FORBIDDEN = frozenset({"sub", "exp"})


async def check_event_token(
    text: str, settings: streams.TransmitterSettings, keys: jwt.ProviderKeys[Transmitter], now: float
) -> security_events.SecurityEvent:
    """Verify an event token of the transmitter. Raises ``Unacceptable`` and ``Unavailable``."""
    try:
        token = jwt.read_token(text)
        _check_header(token)
    except jwt.Refused as refusal:
        raise Unacceptable("invalid_request", f"This is not an event token: {refusal.reason}.") from None
    try:
        algorithm, key_id = jwt.algorithm_of(token, settings.algorithms), jwt.key_id_of(token)
    except jwt.Refused as refusal:
        raise Unacceptable("invalid_key", f"Its key is not acceptable: {refusal.reason}.") from None
    if token.claims.get("iss") != settings.issuer:
        raise Unacceptable("invalid_issuer", "Its issuer is not the one of this stream.")
    _check_audience(token, settings)
    try:
        event = _read(token.claims, settings.issuer, now)
    except security_events.Unreadable as error:
        reason = f"This is not an event token: {error.reason}."
        raise Unacceptable("invalid_request", reason) from None
    key = await keys.find(settings.transmitter, key_id, algorithm)
    if key is None:
        raise Unacceptable("invalid_key", "It was signed with a key that its issuer does not publish.")
    try:
        jwt.check_signature(token, settings.algorithms, key)
    except jwt.Refused:
        raise Unacceptable("authentication_failed", "Its signature is not valid.") from None
    return event


def _check_header(token: jwt.Unverified) -> None:
    """Check the type. Keys in the header are ignored, since an attacker can sign with their own key."""
    if "crit" in token.header:
        raise jwt.Refused("it has critical headers")
    kind = token.header.get("typ")
    if not isinstance(kind, str) or kind.lower().removeprefix("application/") != MEDIA_TYPE:
        raise jwt.Refused("its type is not secevent+jwt")


def _check_audience(token: jwt.Unverified, settings: streams.TransmitterSettings) -> None:
    claimed = token.claims.get("aud")
    audience = [claimed] if isinstance(claimed, str) else claimed
    if not isinstance(audience, list) or not all(isinstance(one, str) for one in audience):
        raise Unacceptable("invalid_audience", "Its audience is neither a text nor a list of texts.")
    if settings.audiences.isdisjoint(one for one in audience if isinstance(one, str)):
        raise Unacceptable("invalid_audience", "Its audience is not this service.")


def _read(claims: JsonObject, issuer: str, now: float) -> security_events.SecurityEvent:
    if not _FORBIDDEN.isdisjoint(claims):
        raise security_events.Unreadable("it has a sub or an exp, which no event token has")
    jti = claims.get("jti")
    if not isinstance(jti, str) or not 0 < len(jti) <= _MAX_JTI_LENGTH or not jti.isprintable():
        raise security_events.Unreadable("its jti is no text, or too long")
    issued_at = security_events.read_time(claims.get("iat"), "its iat")
    if issued_at > now + SKEW_S:
        raise security_events.Unreadable("it is issued in the future")
    type, payload = security_events.read_event(claims.get("events"))
    return security_events.SecurityEvent(
        issuer=issuer,
        jti=jti,
        type=type,
        subject=security_events.read_subject(claims.get("sub_id")),
        happened_at=security_events.happened_at(payload, issued_at, now),
        detail=security_events.read_detail(type, payload),
    )


WINDOW_S = 60.0
_Kind = tuple[Caller, UUID | None, streams.ErrorCode]


class RefusedEvents:
    """Counts the refused event tokens of one worker. Senders are authenticated, so there are few kinds."""

    def __init__(
        self, sessions: async_sessionmaker[AsyncSession], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._sessions = sessions
        self._clock = clock
        self._ends: dict[_Kind, float] = {}
        self._counts: Counter[_Kind] = Counter()

    async def note(
        self, caller: Caller, provider_id: UUID | None, code: streams.ErrorCode, request_id: str | None
    ) -> None:
        """Count a refused event token. Raises ``Unavailable`` if it cannot be recorded."""
        kind = (caller, provider_id, code)
        if self._ends.get(kind, 0.0) > self._clock():
            self._counts[kind] += 1
            return
        await self._write(kind, 1, request_id)
        self._ends[kind] = self._clock() + WINDOW_S

    async def flush(self, *, all: bool = False) -> None:
        """Record the counts of past minutes; with ``all``, also of the current one."""
        now = self._clock()
        for kind in [kind for kind, end in self._ends.items() if all or end <= now]:
            end, count = self._ends[kind], self._counts[kind]
            if count:
                await self._write(kind, count, None)
            # Reduced after the commit, so that no count is lost. More may have been counted since.
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
    """Shared services of a worker, on ``app.state.signals``."""

    transmitters: Transmitters
    keys: jwt.ProviderKeys[Transmitter]
    refused: RefusedEvents

    async def check(
        self, settings: streams.TransmitterSettings, text: str, now: float
    ) -> tuple[security_events.SecurityEvent, frozenset[str]]:
        """Verify an event token; also return the critical members of its subject.

        ``now`` is the database's time. No database connection may be held, since keys may be fetched. Raises
        ``Unacceptable``, and ``Unavailable`` without keys.
        """
        event = await check_event_token(text, settings, self.keys, now)
        return event, self.transmitters.critical_of(settings.transmitter)


async def get_receiver(request: Request) -> Receiver:
    receiver: Receiver = request.app.state.signals
    return receiver


CurrentReceiver = Annotated[Receiver, Depends(get_receiver)]

_TAKEN = f"application/{MEDIA_TYPE}"
_SAID = "signal_provider"


class _NotAnEvent(Unacceptable):
    """A request that cannot contain an event token."""

    def __init__(self, status: int, description: str) -> None:
        super().__init__("invalid_request", description)
        self.status = status


class SignalRoute(TransactionalRoute):
    """Renders errors as in RFC 8935 section 2.3, and records refusals."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                try:
                    return await handle(request)
                except (Unacceptable, Forbidden) as error:
                    # Recorded before it is returned, if the caller is authenticated.
                    caller: Caller | None = getattr(request.state, "caller", None)
                    if caller is not None:
                        receiver: Receiver = request.app.state.signals
                        provider_id: UUID | None = getattr(request.state, _SAID, None)
                        code = error.code if isinstance(error, Unacceptable) else "access_denied"
                        await receiver.refused.note(caller, provider_id, code, request.state.request_id)
                    raise
            except (Unacceptable, DomainError) as error:
                return _answer(error)
            except CONNECTION_ERRORS:
                # A refusal could not be recorded.
                return _answer(database_unavailable())

        return answer


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
CanPush = Annotated[Change, changes(Permission.IDENTITIES_OFFBOARD, machine=True)]


@router.post(streams.PUSH_PATH, operation_id="take_event")
async def take_event(
    request: Request, change: CanPush, runtime: CurrentRuntime, receiver: CurrentReceiver
) -> Response:
    """Process an event. Responds 202 after its effects are committed, and for a repeated event."""
    session, caller = change.session, change.caller
    provider, settings = await _served(session, caller)
    setattr(request.state, _SAID, provider.id)
    now = (await current_time(session)).timestamp()
    # Releases the database connection while the body arrives and keys are fetched.
    await session.commit()
    text = await _token_of(request)
    event, critical = await receiver.check(settings, text, now)
    provider, current = await _served(session, caller)
    if current != settings:
        raise Unavailable("The settings of this provider have just changed. Repeat the request.")
    await receive(change, runtime.signer, provider, event, critical)
    return Response(status_code=202)


async def _served(
    session: AsyncSession, caller: Caller
) -> tuple[IdentityProvider, streams.TransmitterSettings]:
    provider = await require_served_provider(session, Surface.SIGNALS, caller)
    settings = streams.transmitter_settings(provider)
    if settings is None:
        raise Forbidden("The signals settings of this provider name no issuer.")
    return provider, settings


async def _token_of(request: Request) -> str:
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise _NotAnEvent(415, "Compressed bodies are not supported.")
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _TAKEN:
        raise _NotAnEvent(415, f"Send the event token as {_TAKEN}.")
    body = (await request.body()).strip()
    if len(body) > jwt.MAX_CHARACTERS:
        raise _NotAnEvent(413, f"An event token has at most {jwt.MAX_CHARACTERS} characters.")
    return body.decode("ascii", "replace")
