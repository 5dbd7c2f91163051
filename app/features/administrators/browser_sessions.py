"""Browser sessions of the console: open one at a sign-in, read it at every request, end it.

Every request checks in the database that the person is active, the administrator not disabled and the provider trusted,
as with an access token. Roles come from the provider's current settings for the stored claim values, and no role
outlasts a later sign-in without it. ``BrowserFlow`` is the interface between the sign-in pages and the protocol of the
identity provider.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.crypto.keys import Peppers, derive_key
from app.db.change import Change, Subject, Values
from app.db.clock import current_time, keep_transaction_time
from app.db.rows import forget_expired
from app.domain.token_format import BROWSER_SESSION, parse_credential
from app.features.administrators import queries
from app.features.administrators.claims import Holder, read_holder, role_values
from app.features.administrators.sign_in import caller_of
from app.features.browser_sessions.service import add_session, end_sessions_where, mark_seen
from app.features.identities.queries import lock_identity
from app.features.identity_providers import queries as providers
from app.features.identity_providers.schemas import Provider
from app.features.service_accounts.authenticate import is_credential_of, new_credential, unauthenticated
from app.http.authorization import Caller, Role
from app.lib.ids import IDENTITY_PROVIDER, format_id
from app.models.identities import BrowserSession


@dataclass(frozen=True, slots=True)
class Attempt:
    """A sign-in that is in progress. ``verifier`` is sent only to the provider, with the code."""

    redirect_uri: str
    state: str
    nonce: str
    verifier: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class SignedIn:
    """The result of a sign-in. ``claims`` has the identity and roles; ``id_claims`` are the claims of the ID token
    itself."""

    provider: Provider
    claims: Mapping[str, Any] = field(repr=False)
    subject: str
    provider_session: str | None
    id_token: str = field(repr=False)
    id_claims: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class SignedOut:
    """The session or the person that a provider logged out."""

    provider_id: UUID
    subject: str | None
    provider_session: str | None
    said_at: datetime


class BrowserFlow(Protocol):
    """The provider's side of a sign-in. Methods raise ``Malformed`` for an invalid message, and ``Unavailable``."""

    async def start(self, provider: Provider, attempt: Attempt, *, another_account: bool = False) -> str:
        """The URL for the browser. With ``another_account`` the provider asks for an account, signed in or not."""

    async def finish(
        self,
        provider: Provider,
        attempt: Attempt,
        *,
        code: str,
        issuer: str | None,
        now: float,
        request_id: str | None,
    ) -> SignedIn:
        """Complete a sign-in with the code from the browser; ``issuer`` is the ``iss`` parameter of the response."""

    async def read_logout(self, text: str, request_id: str | None) -> SignedOut:
        """Read a logout token of the provider."""

    async def sign_out_address(
        self, provider: Provider, id_token: str, back: str, state: str | None = None
    ) -> str | None:
        """The provider's sign-out URL, or None. It redirects to ``back`` with ``state``."""


SESSION = Subject("browser_session")
_SEEN_EVERY = timedelta(minutes=1)
# A provider's clock may be slightly ahead of ours.
_SKEW = timedelta(minutes=1)
_NONCE = 12


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """The idle and the absolute lifetime of a session."""

    idle: timedelta
    most: timedelta


async def open_session(change: Change, peppers: Peppers, signed_in: SignedIn, lifetimes: Lifetimes) -> str:
    """Open a session for the caller, who just signed in, and return its cookie.

    The locks are those of a sign-in. So a sign-in that races an offboarding, a suspension or a disabling is complete
    before it and ended by it, or sees that the person or the provider was stopped. Raises ``Unauthenticated``.
    """
    session, caller, provider = change.session, change.caller, signed_in.provider
    holder = read_holder(provider, signed_in.claims)
    if caller.identity_id is None:
        raise unauthenticated()
    await lock_identity(session, caller.identity_id, share=True)
    await queries.find_administrator(session, caller.identity_id, lock=True)
    if await providers.lock_link_claim(session, provider.id) != provider.link_claim:
        raise unauthenticated()
    link_holder = await queries.find_link_holder(session, provider.id, holder.link)
    if link_holder is None or not link_holder.can_sign_in or link_holder.identity_id != caller.identity_id:
        raise unauthenticated()
    if link_holder.was_revoked(holder.issued_at):
        # A signal since the sign-in ended the existing sessions, and must not miss this one.
        raise unauthenticated()
    await forget_expired(session, col(BrowserSession.id), col(BrowserSession.expires_at))
    now = await current_time(session)
    text, stored = new_credential(peppers, BROWSER_SESSION)
    row = await add_session(
        session,
        **stored,
        identity_id=caller.identity_id,
        provider_id=provider.id,
        link=holder.link,
        subject=signed_in.subject,
        provider_session=signed_in.provider_session,
        role_values=role_values(provider, signed_in.claims),
        id_token=_seal(text, signed_in.id_token),
        seen_at=now,
        expires_at=now + lifetimes.most,
    )
    details = {"provider_id": format_id(IDENTITY_PROVIDER, provider.id)}
    change.record("session.open", SESSION, None, row, details=details)
    return text


async def read_session(
    session: AsyncSession, peppers: Peppers, text: str, idle: timedelta, *, is_used: bool = True
) -> Caller:
    """Authenticate a session cookie. Raises ``Unauthenticated`` for one that is not valid, for any reason.

    ``is_used`` says that the person does something, so that the session is not idle.
    """
    row = await _find(session, peppers, text, idle)
    if row is None:
        raise unauthenticated()
    provider = await _provider_of(session, row)
    link_holder = await queries.find_link_holder(session, row.provider_id, row.link)
    if (
        provider is None
        or link_holder is None
        or not link_holder.can_sign_in
        or link_holder.identity_id != row.identity_id
    ):
        raise unauthenticated()
    roles = frozenset(provider.role_map[value] for value in row.role_values if value in provider.role_map)
    if link_holder.administrator_id is not None:
        assignments = (await queries.assignments_of(session, [link_holder.administrator_id]))[
            link_holder.administrator_id
        ]
        roles &= {Role(one.role) for one in assignments}
    if is_used:
        await mark_seen(session, row.id, _SEEN_EVERY)
    holder = Holder(row.link, roles, row.created_at)
    return caller_of(holder, row.identity_id, link_holder.administrator_id)


async def end_session(change: Change, text: str) -> tuple[Provider, str] | None:
    """End the session of a cookie that was just read; return the provider and the ID token that opened it."""
    credential = parse_credential(text, BROWSER_SESSION)
    row = None if credential is None else await change.session.get(BrowserSession, credential.id)
    if row is None:
        return None
    provider, id_token = await _provider_of(change.session, row), _unseal(text, row.id_token)
    await _end(change, row)
    return None if provider is None or id_token is None else (provider, id_token)


async def end_replaced_session(
    session: AsyncSession, peppers: Peppers, text: str, request_id: str | None
) -> None:
    """End the session whose cookie is replaced by that of a new sign-in.

    It counts as a sign-out by the person of the old session, who holds its cookie.
    """
    row = await _find(session, peppers, text, None)
    if row is not None:
        await _end(await Change.begin(session, Caller.person(row.identity_id), request_id), row)


async def _end(change: Change, row: BrowserSession) -> None:
    # If something else ended it first, that has recorded it.
    if await end_sessions_where(change.session, col(BrowserSession.id) == row.id):
        change.record("session.end", SESSION, Values(row.id, {}))


async def end_at_provider(session: AsyncSession, signed_out: SignedOut) -> int:
    """End the sessions that a provider has logged out, those opened before its message; return their number.

    A later session is a new sign-in, which a repeated message must not end.
    """
    # A session id of the provider is more specific than a subject: only that session ends.
    condition = (
        col(BrowserSession.subject) == signed_out.subject
        if signed_out.provider_session is None
        else col(BrowserSession.provider_session) == signed_out.provider_session
    )
    ended = await end_sessions_where(
        session,
        col(BrowserSession.provider_id) == signed_out.provider_id,
        col(BrowserSession.created_at) < signed_out.said_at + _SKEW,
        condition,
    )
    for id, identity_id, provider_id in ended:
        details = {"provider_id": format_id(IDENTITY_PROVIDER, provider_id)}
        change = await Change.begin(session, Caller.person(identity_id))
        change.record("session.end", SESSION, Values(id, {}), details=details)
    return len(ended)


async def _find(
    session: AsyncSession, peppers: Peppers, text: str, idle: timedelta | None
) -> BrowserSession | None:
    credential = parse_credential(text, BROWSER_SESSION)
    if credential is None:
        return None
    query = select(BrowserSession, func.now()).where(
        col(BrowserSession.id) == credential.id, col(BrowserSession.expires_at) > func.clock_timestamp()
    )
    if idle is not None:
        query = query.where(col(BrowserSession.seen_at) > func.clock_timestamp() - idle)
    row, now = (await session.execute(query)).one_or_none() or (None, None)
    if now is not None:
        keep_transaction_time(session, now)
    return row if is_credential_of(peppers, row, credential) else None


async def _provider_of(session: AsyncSession, row: BrowserSession) -> Provider | None:
    provider = await providers.find(session, row.provider_id)
    return None if provider is None else providers.provider_of(provider)


def _seal(cookie: str, id_token: str) -> bytes:
    """Encrypt the ID token with the cookie, so that neither our keys nor a copy of the database can decrypt it."""
    nonce = os.urandom(_NONCE)
    return nonce + AESGCM(derive_key(cookie.encode(), "id token")).encrypt(nonce, id_token.encode(), None)


def _unseal(cookie: str, sealed: bytes) -> str | None:
    key = AESGCM(derive_key(cookie.encode(), "id token"))
    try:
        return key.decrypt(sealed[:_NONCE], sealed[_NONCE:], None).decode()
    except (InvalidTag, ValueError):
        return None
