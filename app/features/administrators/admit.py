"""Record a sign-in: a person seen for the first time, the administrator, their roles, the time.

Locks are taken in the order of an offboarding: the identity, then its administrator. So a sign-in is complete before
either of them ends, or sees that they ended.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.db.change import savepoint
from app.domain.errors import Conflict
from app.features.administrators.claims import Holder, display_name_of, email_of, user_name_candidates
from app.features.administrators.queries import OIDC, assignments_of, find_link_holder, lock_administrator
from app.features.audit.record import keep_version, record
from app.features.identities.queries import lock_first_sign_in, lock_identity
from app.features.identities.schemas import IdentityCreate
from app.features.identities.service import create_identity
from app.features.identity_providers.provider import Provider
from app.features.identity_providers.queries import lock_link_claim
from app.features.service_accounts.authenticate import unauthenticated
from app.http.authorization import Caller, Role
from app.lib.clock import utc_now
from app.lib.ids import IDENTITY_PROVIDER, format_id, new_id
from app.models.identities import Administrator, IdentityLink, RoleAssignment

ADMINISTRATOR_KIND = "administrator"
# Leaves room for the suffix that makes a taken name unique.
_MAX_BASE_LENGTH = 180


def caller_of(holder: Holder, identity_id: UUID, administrator_id: UUID | None) -> Caller:
    """The caller for a person who signed in. Their roles are those in the token, never the stored ones."""
    if holder.roles and administrator_id is not None:
        return Caller(ADMINISTRATOR_KIND, administrator_id, holder.roles, identity_id)
    return Caller("identity", identity_id, frozenset(), identity_id)


async def record_sign_in(
    session: AsyncSession,
    provider: Provider,
    holder: Holder,
    claims: Mapping[str, Any],
    request_id: str | None,
) -> Caller:
    """Record a sign-in that changes something. The caller commits.

    Raises ``Unauthenticated`` when the person was stopped since the token was checked.
    """
    new = caller_of(holder, new_id(), new_id())
    identity_id = await _identity_of(session, provider, holder, claims, new, request_id)
    identity = await lock_identity(session, identity_id)
    if identity is None or identity.status != "active":
        raise unauthenticated()
    if identity.sign_ins_after is not None and holder.issued_at <= identity.sign_ins_after:
        # Revoked since it was checked.
        raise unauthenticated()
    administrator = await lock_administrator(session, identity_id)
    if administrator is None and not holder.roles:
        return caller_of(holder, identity_id, None)
    if administrator is None:
        administrator = Administrator(id=new.id, identity_id=identity_id)
        session.add(administrator)
        await session.flush()
        await session.refresh(administrator)
    elif administrator.status != "active":
        raise unauthenticated()
    caller = caller_of(holder, identity_id, administrator.id)
    last = administrator.last_sign_in_at
    if last is None or holder.issued_at > last:
        await _follow_claim(session, caller, administrator, provider, request_id)
        await _record_sign_in_time(session, administrator.id, holder.issued_at)
        await _record(session, caller, "administrator.sign_in", administrator.id, {}, provider, request_id)
    return caller


async def _identity_of(
    session: AsyncSession,
    provider: Provider,
    holder: Holder,
    claims: Mapping[str, Any],
    actor: Caller,
    request_id: str | None,
) -> UUID:
    """Read or create the identity with the holder's link. Of several concurrent first sign-ins, one creates it."""
    link_holder = await find_link_holder(session, provider.id, holder.link)
    if link_holder is not None and link_holder.identity_id is None:
        if await lock_link_claim(session, provider.id) != provider.link_claim:
            # The provider changed since the token was read: this is the value of another claim.
            raise unauthenticated()
        await lock_first_sign_in(session, provider.id, holder.link)
        link_holder = await find_link_holder(session, provider.id, holder.link)
    if link_holder is None or not link_holder.can_sign_in:
        raise unauthenticated()
    if link_holder.identity_id is not None:
        return link_holder.identity_id
    identity_id = await _make_person(session, holder, claims, actor, request_id)
    session.add(IdentityLink(identity_id=identity_id, provider_id=provider.id, kind=OIDC, value=holder.link))
    await session.flush()
    return identity_id


async def _make_person(
    session: AsyncSession, holder: Holder, claims: Mapping[str, Any], actor: Caller, request_id: str | None
) -> UUID:
    """Create a person named as in the token, with a suffix if the name is taken or was until recently."""
    base = next(user_name_candidates(claims, holder.link))[:_MAX_BASE_LENGTH]
    name = base
    while True:
        body = IdentityCreate(
            kind="person", user_name=name, display_name=display_name_of(claims), email=email_of(claims)
        )
        try:
            async with savepoint(session):
                identity = await create_identity(
                    session, actor, body, utc_now, request_id, id=actor.identity_id
                )
                return identity.id
        except Conflict:
            name = f"{base}-{new_id().hex[-8:]}"


async def _follow_claim(
    session: AsyncSession,
    caller: Caller,
    administrator: Administrator,
    provider: Provider,
    request_id: str | None,
) -> None:
    """Update the stored roles of a locked administrator to match the claim. Nothing else writes them."""
    current = {
        Role(row.role): row for row in (await assignments_of(session, [administrator.id]))[administrator.id]
    }
    first = administrator.last_sign_in_at is None
    if current.keys() == caller.roles and not first:
        return
    for role in current.keys() - caller.roles:
        await session.delete(current[role])
        await keep_version(session, "role_assignment", current[role].id, None)
    for role in sorted(caller.roles - current.keys()):
        row = RoleAssignment(administrator_id=administrator.id, role=role.value)
        session.add(row)
        await session.flush()
        content = {"administrator_id": administrator.id, "role": row.role, "within": "all"}
        await keep_version(session, "role_assignment", row.id, content)
    roles = {"from": sorted(current), "to": sorted(caller.roles)}
    if not first:
        administrator.revision += 1
        await session.flush()
    action = "administrator.create" if first else "administrator.update"
    await _record(session, caller, action, administrator.id, {"roles": roles}, provider, request_id)


async def _record_sign_in_time(session: AsyncSession, id: UUID, issued_at: datetime) -> None:
    """Record the time of the sign-in. The object does not change, so its time and revision stay."""
    values = {"last_sign_in_at": issued_at, "updated_at": col(Administrator.updated_at)}
    await session.execute(
        update(Administrator)
        .where(col(Administrator.id) == id)
        .values(values)
        .execution_options(synchronize_session=False)
    )


async def _record(
    session: AsyncSession,
    caller: Caller,
    action: str,
    administrator_id: UUID,
    changes: dict[str, Any],
    provider: Provider,
    request_id: str | None,
) -> None:
    changes_with_provider = {"provider_id": format_id(IDENTITY_PROVIDER, provider.id), **changes}
    await record(
        session,
        caller,
        action,
        ADMINISTRATOR_KIND,
        administrator_id,
        changes=changes_with_provider,
        request_id=request_id,
    )
