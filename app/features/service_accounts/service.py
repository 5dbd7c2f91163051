"""Create, change and end service accounts and their credentials. Services flush; the request commits."""

import os
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.crypto.keys import Peppers
from app.domain.errors import Forbidden, Invalid, NotFound
from app.domain.token_format import CLIENT_SECRET, SECRET_BYTES, format_credential
from app.features.audit.record import keep_version, record
from app.features.identities.queries import lock_identity
from app.features.identities.role_checks import check_remaining_owner
from app.features.service_accounts.authenticate import digest_of
from app.http.authorization import Caller, Role, authorize_giving
from app.http.etags import Precondition
from app.lib.ids import new_id
from app.models.identities import SERVICE_ACCOUNT_KIND, ServiceAccount, ServiceAccountCredential

UNREVOKED = 1
"""The revision of a credential: the only change is its revocation."""


@dataclass(frozen=True, slots=True)
class NewCredential:
    """A new credential. ``secret`` is the only copy; it never shows in ``repr``."""

    row: ServiceAccountCredential
    secret: str

    def __repr__(self) -> str:
        return f"NewCredential(id={self.row.id})"


async def load(
    session: AsyncSession, id: UUID, *, include_ended: bool = False, lock: bool = False
) -> ServiceAccount:
    """Find the account, locked for a change on demand. Raises ``NotFound`` for unknown and ended ones."""
    query = select(ServiceAccount).where(col(ServiceAccount.id) == id)
    if not include_ended:
        query = query.where(col(ServiceAccount.ended_at).is_(None))
    if lock:
        query = query.with_for_update()
    account = (await session.execute(query)).scalar_one_or_none()
    if account is None:
        raise NotFound("There is no such service account.")
    return account


async def create(
    session: AsyncSession, caller: Caller, *, name: str, owner_id: UUID, role: Role, request_id: str | None
) -> ServiceAccount:
    """Create an account. Raises ``Forbidden`` above the caller's own role, ``Invalid`` for an inactive owner."""
    authorize_giving(caller, role)
    await _check_owner(session, owner_id)
    account = ServiceAccount(name=name, owner_id=owner_id, role=role.value)
    session.add(account)
    await session.flush()
    await keep_version(session, "role_assignment", account.id, {"role": account.role, "within": "all"})
    await record(
        session,
        caller,
        "service_account.create",
        SERVICE_ACCOUNT_KIND,
        account.id,
        changes={"name": name, "owner_id": owner_id, "role": role.value},
        request_id=request_id,
    )
    return account


async def change(
    session: AsyncSession,
    caller: Caller,
    account: ServiceAccount,
    fields: dict[str, Any],
    request_id: str | None,
) -> None:
    """Apply changed fields to a locked account.

    Raises ``Forbidden`` for the caller's own role or status and above its role, ``Invalid`` for the owner.
    """
    changes = {name: value for name, value in fields.items() if value != getattr(account, name)}
    if "owner_id" in fields:
        await _check_owner(session, fields["owner_id"])
        if account.owner_offboarded:
            changes["owner_offboarded"] = False
    if account.id == caller.id and changes.keys() & {"role", "status"}:
        raise Forbidden(
            "An account cannot change its own role or status; another owner has to do it.", code="own_account"
        )
    authorize_giving(caller, Role(account.role))
    if not changes:
        return
    if changes.keys() & {"role", "status"}:
        await check_remaining_owner(session, lambda owner: owner.id == account.id)
    if "role" in changes:
        authorize_giving(caller, changes["role"])
        changes["role"] = changes["role"].value
        await keep_version(session, "role_assignment", account.id, {"role": changes["role"], "within": "all"})
    account.sqlmodel_update(changes)
    account.revision += 1
    await session.flush()
    await session.refresh(account)
    await record(
        session,
        caller,
        "service_account.update",
        SERVICE_ACCOUNT_KIND,
        account.id,
        changes=changes,
        request_id=request_id,
    )


async def end(session: AsyncSession, caller: Caller, account: ServiceAccount, request_id: str | None) -> None:
    """End a locked account: none of its credentials work any more. Raises ``Forbidden`` for the caller's own."""
    if account.id == caller.id:
        raise Forbidden("An account cannot end itself; another owner has to do it.", code="own_account")
    authorize_giving(caller, Role(account.role))
    await check_remaining_owner(session, lambda owner: owner.id == account.id)
    account.ended_at = (await session.execute(select(func.now()))).scalar_one()
    account.revision += 1
    await session.flush()
    await keep_version(session, "role_assignment", account.id, None)
    await record(
        session, caller, "service_account.delete", SERVICE_ACCOUNT_KIND, account.id, request_id=request_id
    )


async def add_credential(
    session: AsyncSession, peppers: Peppers, caller: Caller, account: ServiceAccount, request_id: str | None
) -> NewCredential:
    """Create a client secret for an account of at most the caller's role."""
    authorize_giving(caller, Role(account.role))
    id = new_id()
    secret = format_credential(CLIENT_SECRET, id, os.urandom(SECRET_BYTES))
    row = ServiceAccountCredential(
        id=id,
        service_account_id=account.id,
        digest=digest_of(peppers, secret, CLIENT_SECRET),
        pepper_key_id=peppers.current_id,
    )
    session.add(row)
    await session.flush()
    await session.refresh(row)
    await _record_credential(session, caller, "service_account.credential_create", row, request_id)
    return NewCredential(row, secret)


async def revoke_credential(
    session: AsyncSession,
    caller: Caller,
    account: ServiceAccount,
    credential_id: UUID,
    if_match: Precondition,
    request_id: str | None,
) -> None:
    """Revoke one client secret and its bearer tokens.

    Raises ``NotFound`` when it is not live, ``PreconditionFailed``, ``Forbidden`` above the caller's own role, and
    ``Conflict`` for the last one of the last active owner.
    """
    query = (
        select(ServiceAccountCredential)
        .where(
            col(ServiceAccountCredential.id) == credential_id,
            col(ServiceAccountCredential.service_account_id) == account.id,
            col(ServiceAccountCredential.revoked_at).is_(None),
        )
        .with_for_update()
    )
    row = (await session.execute(query)).scalar_one_or_none()
    if row is None:
        raise NotFound("This service account has no such live credential.")
    if_match.check(UNREVOKED)
    authorize_giving(caller, Role(account.role))
    if not await _has_another_credential(session, row):
        await check_remaining_owner(session, lambda owner: owner.id == account.id)
    row.revoked_at = (await session.execute(select(func.now()))).scalar_one()
    await session.flush()
    await _record_credential(session, caller, "service_account.credential_revoke", row, request_id)


async def _has_another_credential(session: AsyncSession, row: ServiceAccountCredential) -> bool:
    query = select(col(ServiceAccountCredential.id)).where(
        col(ServiceAccountCredential.service_account_id) == row.service_account_id,
        col(ServiceAccountCredential.id) != row.id,
        col(ServiceAccountCredential.revoked_at).is_(None),
    )
    return (await session.execute(query.limit(1))).first() is not None


async def _record_credential(
    session: AsyncSession, caller: Caller, action: str, row: ServiceAccountCredential, request_id: str | None
) -> None:
    await record(
        session,
        caller,
        action,
        SERVICE_ACCOUNT_KIND,
        row.service_account_id,
        changes={"credential_id": row.id},
        request_id=request_id,
    )


async def _check_owner(session: AsyncSession, owner_id: UUID) -> None:
    """Require an active owner, and lock it until this transaction ends."""
    owner = await lock_identity(session, owner_id, share=True)
    if owner is None or owner.status != "active":
        raise Invalid.field("/owner_id", "not_active", "The owner must be an active identity.")
