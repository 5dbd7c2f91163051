"""People who are signed in with a browser: opened at a sign-in, read at every request, ended.

A session is no more than a sign-in that lasts. Whether its person is active, its administrator not disabled and its
provider trusted is asked of the database at every request, as with an access token; what a value of the role claim
gives is read from the provider's settings of now, and no role outlasts a later sign-in that did not bring it.
"""

import os
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.crypto.keys import Peppers, derive_key
from app.domain.token_format import BROWSER_SESSION, SECRET_BYTES, format_credential, parse_credential
from app.features.administrators.admit import caller_of
from app.features.administrators.browser_sign_in import SignedIn, SignedOut
from app.features.administrators.claims import Holder, read_holder, role_values
from app.features.administrators.queries import assignments_of, find_known, lock_administrator
from app.features.audit.record import record
from app.features.identities.queries import lock_identity
from app.features.identity_providers import queries as providers
from app.features.identity_providers.provider import Provider
from app.features.service_accounts.authenticate import digest_of, refused
from app.http.authorization import Caller, Role
from app.lib.ids import IDENTITY_PROVIDER, format_id, new_id
from app.models.administrators import BrowserSession

KIND = "browser_session"
_SEEN_EVERY = timedelta(minutes=1)
# A provider's clock may be a little ahead of ours.
_SKEW = timedelta(minutes=1)
_NONCE = 12
_NO_DIGEST = bytes(32)


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long a session lasts without a request, and how long at most."""

    idle: timedelta
    most: timedelta


async def open_session(
    session: AsyncSession,
    peppers: Peppers,
    signed_in: SignedIn,
    caller: Caller,
    lifetimes: Lifetimes,
    request_id: str | None,
) -> str:
    """A session for a person who just signed in: the text of its cookie. The caller commits.

    The locks are those of a sign-in, so that one that races an offboarding, a suspension or a disabling is over before
    it and ended by it, or finds the person or the provider stopped. Raises ``Unauthenticated``.
    """
    provider, holder = signed_in.provider, read_holder(signed_in.provider, signed_in.claims)
    if caller.identity_id is None:
        raise refused()
    await lock_identity(session, caller.identity_id, share=True)
    await lock_administrator(session, caller.identity_id)
    if await providers.hold_link_claim(session, provider.id) != provider.link_claim:
        raise refused()
    known = await find_known(session, provider.id, holder.link)
    if known is None or not known.may_enter or known.identity_id != caller.identity_id:
        raise refused()
    if known.was_taken_back(holder.issued_at):
        # By a signal since the sign-in: it ended the sessions that there were, and must not miss this one.
        raise refused()
    await _forget_expired(session)
    now: datetime = (await session.execute(select(func.clock_timestamp()))).scalar_one()
    id = new_id()
    text = format_credential(BROWSER_SESSION, id, os.urandom(SECRET_BYTES))
    session.add(
        BrowserSession(
            id=id,
            digest=digest_of(peppers, text, BROWSER_SESSION),
            pepper_key_id=peppers.current_id,
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
    )
    await session.flush()
    changes = {"provider_id": format_id(IDENTITY_PROVIDER, provider.id)}
    await record(session, caller, "session.open", KIND, id, changes=changes, request_id=request_id)
    return text


async def read_session(
    session: AsyncSession, peppers: Peppers, text: str, idle: timedelta, *, is_used: bool = True
) -> Caller:
    """Who is signed in by a cookie. Raises ``Unauthenticated`` for one that opens nothing, whatever the reason.

    ``is_used`` says that the person does something, so that the session is not idle.
    """
    row = await _find(session, peppers, text, idle)
    if row is None:
        raise refused()
    provider = await _provider_of(session, row)
    known = await find_known(session, row.provider_id, row.link)
    if provider is None or known is None or not known.may_enter or known.identity_id != row.identity_id:
        raise refused()
    roles = frozenset(provider.role_map[value] for value in row.role_values if value in provider.role_map)
    if known.administrator_id is not None:
        held = (await assignments_of(session, [known.administrator_id]))[known.administrator_id]
        roles &= {Role(one.role) for one in held}
    if is_used:
        await session.execute(
            update(BrowserSession)
            .where(col(BrowserSession.id) == row.id, col(BrowserSession.seen_at) < func.now() - _SEEN_EVERY)
            .values(seen_at=func.clock_timestamp())
            .execution_options(synchronize_session=False)
        )
    holder = Holder(row.link, roles, row.created_at)
    return caller_of(holder, row.identity_id, known.administrator_id)


async def end_session(
    session: AsyncSession, caller: Caller, text: str, request_id: str | None
) -> tuple[Provider, str] | None:
    """End the session of a cookie that was just read; the provider and the ID token that it was opened with."""
    credential = parse_credential(text, BROWSER_SESSION)
    row = None if credential is None else await session.get(BrowserSession, credential.id)
    if row is None:
        return None
    provider, id_token = await _provider_of(session, row), _unseal(text, row.id_token)
    await _end(session, row, caller, request_id)
    return None if provider is None or id_token is None else (provider, id_token)


async def end_replaced(session: AsyncSession, peppers: Peppers, text: str, request_id: str | None) -> None:
    """End the session whose cookie is about to be replaced by that of a new sign-in.

    It is its own person's end, as signing out is: who holds the cookie is them, whoever signs in next.
    """
    row = await _find(session, peppers, text, None)
    if row is not None:
        await _end(
            session, row, Caller("identity", row.identity_id, frozenset(), row.identity_id), request_id
        )


async def _end(session: AsyncSession, row: BrowserSession, by: Caller, request_id: str | None) -> None:
    this = delete(BrowserSession).where(col(BrowserSession.id) == row.id)
    # Whatever ended it since it was looked for has told of it.
    if (await session.execute(this.returning(col(BrowserSession.id)))).scalar_one_or_none() is not None:
        await record(session, by, "session.end", KIND, row.id, request_id=request_id)


async def end_at_provider(session: AsyncSession, said: SignedOut) -> int:
    """End the sessions that a provider says are over, those opened before it said so; how many there were.

    A later one is another sign-in: a message that is sent again must not end it.
    """
    # A session of the provider says more than a person does: it is this one that is over, and no other.
    named = (
        col(BrowserSession.subject) == said.subject
        if said.provider_session is None
        else col(BrowserSession.provider_session) == said.provider_session
    )
    ended = delete(BrowserSession).where(
        col(BrowserSession.provider_id) == said.provider_id,
        col(BrowserSession.created_at) < said.said_at + _SKEW,
        named,
    )
    found = list(
        await session.execute(ended.returning(col(BrowserSession.id), col(BrowserSession.identity_id)))
    )
    for id, identity_id in found:
        person = Caller("identity", identity_id, frozenset(), identity_id)
        changes = {"provider_id": format_id(IDENTITY_PROVIDER, said.provider_id)}
        await record(session, person, "session.end", KIND, id, changes=changes)
    return len(found)


async def _find(
    session: AsyncSession, peppers: Peppers, text: str, idle: timedelta | None
) -> BrowserSession | None:
    credential = parse_credential(text, BROWSER_SESSION)
    if credential is None:
        return None
    query = select(BrowserSession).where(
        col(BrowserSession.id) == credential.id, col(BrowserSession.expires_at) > func.clock_timestamp()
    )
    if idle is not None:
        query = query.where(col(BrowserSession.seen_at) > func.clock_timestamp() - idle)
    row = (await session.execute(query)).scalar_one_or_none()
    stored = ("", _NO_DIGEST) if row is None else (row.pepper_key_id, row.digest)
    return row if peppers.matches(*stored, credential.digest_input) else None


async def _provider_of(session: AsyncSession, row: BrowserSession) -> Provider | None:
    found = await providers.find(session, row.provider_id)
    return None if found is None else providers.provider_of(found)


async def _forget_expired(session: AsyncSession) -> None:
    expired = (
        select(col(BrowserSession.id))
        .where(col(BrowserSession.expires_at) < func.clock_timestamp())
        .with_for_update(skip_locked=True)
    )
    await session.execute(delete(BrowserSession).where(col(BrowserSession.id).in_(expired)))


def _seal(cookie: str, id_token: str) -> bytes:
    """Sealed by the cookie itself: no key of ours and no copy of the database opens it."""
    nonce = os.urandom(_NONCE)
    return nonce + AESGCM(derive_key(cookie.encode(), "id token")).encrypt(nonce, id_token.encode(), None)


def _unseal(cookie: str, sealed: bytes) -> str | None:
    key = AESGCM(derive_key(cookie.encode(), "id token"))
    try:
        return key.decrypt(sealed[:_NONCE], sealed[_NONCE:], None).decode()
    except (InvalidTag, ValueError):
        return None
