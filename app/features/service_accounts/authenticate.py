"""Authenticate service accounts: client secrets at sign-in, bearer tokens at every request.

Everything is checked in the database with its clock, so a revocation takes effect immediately.
"""

import os
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Select, bindparam, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased
from sqlmodel import col

from app.crypto.keys import Peppers
from app.db.clock import current_time, keep_transaction_time
from app.db.rows import forget_expired
from app.domain.errors import Unauthenticated
from app.domain.token_format import (
    API_BEARER,
    CLIENT_SECRET,
    SECRET_BYTES,
    Credential,
    format_credential,
    parse_credential,
)
from app.features.audit.record import record
from app.http.authorization import Caller, Role
from app.lib.ids import SERVICE_ACCOUNT, format_id, new_id
from app.models.identities import (
    SERVICE_ACCOUNT_KIND,
    ApiBearer,
    Identity,
    ServiceAccount,
    ServiceAccountCredential,
)

BEARER_LIFETIME = timedelta(hours=1)
_NO_DIGEST = bytes(32)
_ACCOUNT: tuple[Any, ...] = (
    col(ServiceAccount.id).label("id"),
    col(ServiceAccount.role).label("role"),
    col(ServiceAccount.owner_id).label("owner_id"),
)


@dataclass(frozen=True, slots=True)
class IssuedBearer:
    """A new bearer token. ``text`` is the only copy; it never shows in ``repr``."""

    text: str = field(repr=False)
    lifetime: timedelta


def unauthenticated() -> Unauthenticated:
    """The error for every credential that is not valid, for any reason."""
    return Unauthenticated(
        "The API needs a valid credential: one Authorization header with a bearer from POST /oauth/token, or with an "
        "access token of your OpenID provider."
    )


async def sign_in(
    session: AsyncSession, peppers: Peppers, client_id: str, client_secret: str, request_id: str | None
) -> IssuedBearer:
    """Exchange a client secret for a bearer token, and record it. Raises ``Unauthenticated``."""
    credential, caller = await authenticate(session, peppers, client_secret, CLIENT_SECRET)
    if client_id != format_id(SERVICE_ACCOUNT, caller.id):
        raise unauthenticated()
    of_credential = col(ApiBearer.credential_id) == credential.id
    await forget_expired(session, col(ApiBearer.id), col(ApiBearer.expires_at), of_credential)
    bearer = await issue_bearer(session, peppers, credential.id)
    await record(
        session, caller, "service_account.sign_in", SERVICE_ACCOUNT_KIND, caller.id, request_id=request_id
    )
    return bearer


async def issue_bearer(session: AsyncSession, peppers: Peppers, credential_id: UUID) -> IssuedBearer:
    """Issue a bearer token for a credential; it lives as long as the credential, at most one hour."""
    text, stored = new_credential(peppers, API_BEARER)
    now = await current_time(session)
    session.add(ApiBearer(**stored, credential_id=credential_id, expires_at=now + BEARER_LIFETIME))
    await session.flush()
    return IssuedBearer(text, BEARER_LIFETIME)


def new_credential(peppers: Peppers, prefix: str) -> tuple[str, dict[str, Any]]:
    """The text of a new credential, and the columns that store it: ``id``, ``digest`` and ``pepper_key_id``."""
    id = new_id()
    text = format_credential(prefix, id, os.urandom(SECRET_BYTES))
    return text, {"id": id, "digest": digest_of(peppers, text, prefix), "pepper_key_id": peppers.current_id}


def is_credential_of(peppers: Peppers, row: Any, credential: Credential) -> bool:
    """Whether a credential is that of a stored row. Takes the same time without a row."""
    key_id, digest = ("", _NO_DIGEST) if row is None else (row.pepper_key_id, row.digest)
    return peppers.matches(key_id, digest, credential.digest_input) and row is not None


def digest_of(peppers: Peppers, text: str, prefix: str) -> bytes:
    """The stored digest of a new credential."""
    credential = parse_credential(text, prefix)
    if credential is None:
        raise ValueError("not a credential of this class")
    return peppers.digest(credential.digest_input)


async def find_live_account(session: AsyncSession, account_id: UUID) -> Caller | None:
    """Find the active service account for a workload token; None when it may not act."""
    query = _only_acting(select(*_ACCOUNT).select_from(ServiceAccount)).where(
        col(ServiceAccount.id) == account_id
    )
    row = (await session.execute(query)).one_or_none()
    return None if row is None else _caller(row)


def _live_accounts(secret: type[ApiBearer] | type[ServiceAccountCredential]) -> Select[*tuple[Any, ...]]:
    """Select active accounts, with the digest of the presented secret."""
    return _only_acting(
        select(
            col(secret.digest).label("digest"),
            col(secret.pepper_key_id).label("pepper_key_id"),
            func.now().label("now"),
            *_ACCOUNT,
        )
        .select_from(ServiceAccountCredential)
        .join(ServiceAccount, col(ServiceAccount.id) == ServiceAccountCredential.service_account_id)
    ).where(col(ServiceAccountCredential.revoked_at).is_(None))


def _only_acting(accounts: Select[*tuple[Any, ...]]) -> Select[*tuple[Any, ...]]:
    """Keep only accounts that may act now.

    The owner of an account must be active, and so must the owner of an agent that owns one.
    """
    answering = aliased(Identity)
    return (
        accounts.join(Identity, col(Identity.id) == ServiceAccount.owner_id)
        .outerjoin(answering, col(answering.id) == Identity.owner_id)
        .where(
            col(ServiceAccount.status) == "active",
            col(ServiceAccount.ended_at).is_(None),
            col(ServiceAccount.owner_offboarded).is_(False),
            col(Identity.status) == "active",
            or_(col(answering.id).is_(None), col(answering.status) == "active"),
        )
    )


# Built once, since they are used at each request.
_BY_SECRET = _live_accounts(ServiceAccountCredential).where(
    col(ServiceAccountCredential.id) == bindparam("credential")
)
_BY_BEARER = (
    _live_accounts(ApiBearer)
    .join(ApiBearer, col(ApiBearer.credential_id) == ServiceAccountCredential.id)
    .where(col(ApiBearer.id) == bindparam("credential"), col(ApiBearer.expires_at) > func.clock_timestamp())
)
_QUERIES = {API_BEARER: _BY_BEARER, CLIENT_SECRET: _BY_SECRET}


async def authenticate(
    session: AsyncSession, peppers: Peppers, text: str, prefix: str
) -> tuple[Credential, Caller]:
    """Authenticate a bearer token or a client secret, by its prefix, with one query. Raises ``Unauthenticated``.

    Takes the same time for known and unknown ids.
    """
    credential = parse_credential(text, prefix)
    if credential is None:
        raise unauthenticated()
    row = (await session.execute(_QUERIES[prefix], {"credential": credential.id})).one_or_none()
    if not is_credential_of(peppers, row, credential) or row is None:
        raise unauthenticated()
    keep_transaction_time(session, row.now)
    return credential, _caller(row)


async def has_usable_owner(session: AsyncSession) -> bool:
    """Whether a service account with the role owner can sign in now."""
    query = _live_accounts(ServiceAccountCredential).where(col(ServiceAccount.role) == Role.OWNER.value)
    return (await session.execute(query.limit(1))).first() is not None


def _caller(row: Any) -> Caller:
    return Caller(SERVICE_ACCOUNT_KIND, row.id, frozenset({Role(row.role)}), identity_id=row.owner_id)
