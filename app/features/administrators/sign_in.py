"""Sign in with a verified access token of an OpenID provider, as a person or as a workload's service account.

Every request checks the database, so an offboarded, suspended or disabled person is refused at once, regardless of the
content and lifetime of their token. A sign-in is recorded in a transaction of its own, which stays when the request
fails.

Locks are taken in the order of an offboarding: the identity, then its administrator. So a sign-in is complete before
either of them ends, or sees that they ended.
"""

import hashlib
import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import func, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import col

from app.db.change import Change, Subject, savepoint
from app.db.engine import commit
from app.db.rows import forget_expired
from app.domain.errors import Conflict
from app.features.administrators import queries
from app.features.administrators.claims import (
    Holder,
    display_name_of,
    email_of,
    read_holder,
    user_name_of,
    workload_account,
)
from app.features.audit.record import record
from app.features.identities.queries import lock_first_sign_in, lock_identity
from app.features.identities.schemas import IdentityCreate
from app.features.identities.service import create_identity, point_link
from app.features.identity_providers import queries as providers
from app.features.identity_providers.schemas import Provider
from app.features.service_accounts.authenticate import find_live_account, unauthenticated
from app.http.authorization import Caller, Role
from app.lib.ids import IDENTITY_PROVIDER, format_id, new_id
from app.models.identities import SERVICE_ACCOUNT_KIND, Administrator, RoleAssignment, WorkloadSignIn

ADMINISTRATOR = Subject("administrator", audited=("status",))
ROLE_ASSIGNMENT = Subject(
    "role_assignment", history="role_assignment", kept=("administrator_id", "role", "within")
)

# Leaves room for the suffix that makes a taken name unique.
_MAX_BASE_LENGTH = 180


def caller_of(holder: Holder, identity_id: UUID, administrator_id: UUID | None) -> Caller:
    """The caller for a person who signed in. Their roles are those in the token, never the stored ones."""
    if holder.roles and administrator_id is not None:
        return Caller(ADMINISTRATOR.type, administrator_id, holder.roles, identity_id)
    return Caller.person(identity_id)


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
    identity_id = await _identity_of(await Change.begin(session, new, request_id), provider, holder, claims)
    identity = await lock_identity(session, identity_id)
    if identity is None or identity.status != "active":
        raise unauthenticated()
    if identity.sign_ins_after is not None and holder.issued_at <= identity.sign_ins_after:
        # Revoked since it was checked.
        raise unauthenticated()
    administrator = await queries.find_administrator(session, identity_id, lock=True)
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
        change = await Change.begin(session, caller, request_id)
        signed_in_at = {"provider_id": format_id(IDENTITY_PROVIDER, provider.id)}
        await _follow_claim(change, administrator, signed_in_at)
        # The object does not change by it, so its time and revision stay.
        values = {"last_sign_in_at": holder.issued_at, "updated_at": col(Administrator.updated_at)}
        signed_in = update(Administrator).where(col(Administrator.id) == administrator.id).values(values)
        await session.execute(signed_in.execution_options(synchronize_session=False))
        change.record(
            "administrator.sign_in", ADMINISTRATOR, administrator, administrator, details=signed_in_at
        )
    return caller


async def _identity_of(change: Change, provider: Provider, holder: Holder, claims: Mapping[str, Any]) -> UUID:
    """Read or create the identity with the holder's link. Of several concurrent first sign-ins, one creates it."""
    session = change.session
    link_holder = await queries.find_link_holder(session, provider.id, holder.link)
    if link_holder is not None and link_holder.identity_id is None:
        if await providers.lock_link_claim(session, provider.id) != provider.link_claim:
            # The provider changed since the token was read: this is the value of another claim.
            raise unauthenticated()
        await lock_first_sign_in(session, provider.id, holder.link)
        link_holder = await queries.find_link_holder(session, provider.id, holder.link)
    if link_holder is None or not link_holder.can_sign_in:
        raise unauthenticated()
    if link_holder.identity_id is not None:
        return link_holder.identity_id
    identity_id = await _create_person(change, holder, claims)
    await point_link(session, provider.id, None, identity_id, holder.link)
    return identity_id


async def _create_person(change: Change, holder: Holder, claims: Mapping[str, Any]) -> UUID:
    """Create a person named as in the token, with a suffix if the name is taken or was until recently."""
    base = user_name_of(claims, holder.link)[:_MAX_BASE_LENGTH]
    name = base
    while True:
        body = IdentityCreate(
            kind="person", user_name=name, display_name=display_name_of(claims), email=email_of(claims)
        )
        try:
            async with savepoint(change.session):
                return (await create_identity(change, body, id=change.caller.identity_id)).id
        except Conflict:
            name = f"{base}-{new_id().hex[-8:]}"


async def _follow_claim(change: Change, administrator: Administrator, details: Mapping[str, Any]) -> None:
    """Update the stored roles of a locked administrator to match the claim. Nothing else writes them."""
    session, roles = change.session, change.caller.roles
    assignments = (await queries.assignments_of(session, [administrator.id]))[administrator.id]
    current = {Role(row.role): row for row in assignments}
    first = administrator.last_sign_in_at is None
    if current.keys() == roles and not first:
        return
    removed = [current[role] for role in current.keys() - roles]
    added = [
        RoleAssignment(administrator_id=administrator.id, role=role.value)
        for role in sorted(roles - current.keys())
    ]
    if not first:
        administrator.revision += 1
    event_id = change.record(
        "administrator.create" if first else "administrator.update",
        ADMINISTRATOR,
        administrator,
        administrator,
        details={**details, "roles": {"from": sorted(current), "to": sorted(roles)}},
    )
    for row in removed:
        change.record_with(event_id, ROLE_ASSIGNMENT, row, None)
        await session.delete(row)
    for row in added:
        change.record_with(event_id, ROLE_ASSIGNMENT, None, row)
    session.add_all(added)
    await session.flush()


# Such tokens usually live for minutes or hours; one that lives longer is recorded once a day.
_REMEMBERED = timedelta(days=1)


async def sign_workload_in(
    session: AsyncSession,
    provider: Provider,
    account_id: UUID,
    claims: Mapping[str, Any],
    request_id: str | None,
) -> Caller:
    """The service account that a verified token acts as, recorded once for each token.

    Raises ``Unauthenticated`` when the account may not act now.
    """
    caller = await find_live_account(session, account_id)
    row = await providers.find(session, provider.id)
    if caller is None or row is None or row.status != "active":
        raise unauthenticated()
    digest = hashlib.sha256(json.dumps([str(provider.id), claims], sort_keys=True).encode()).digest()
    if await session.get(WorkloadSignIn, digest) is not None:
        return caller
    await forget_expired(session, col(WorkloadSignIn.digest), col(WorkloadSignIn.expires_at))
    insertion = insert(WorkloadSignIn).values(
        digest=digest, service_account_id=caller.id, expires_at=func.clock_timestamp() + _REMEMBERED
    )
    inserted = await session.execute(insertion.on_conflict_do_nothing().returning(col(WorkloadSignIn.digest)))
    # Of several concurrent first uses, one is recorded.
    if inserted.first() is not None:
        changes = {"provider_id": format_id(IDENTITY_PROVIDER, provider.id)}
        await record(
            session, caller, "service_account.sign_in", SERVICE_ACCOUNT_KIND, caller.id,
            changes=changes, request_id=request_id,
        )  # fmt: skip
    await commit(session)
    return caller


async def sign_in(
    sessions: async_sessionmaker[AsyncSession],
    provider: Provider,
    claims: Mapping[str, Any],
    request_id: str | None,
) -> Caller:
    """The caller that verified claims name. Only reads, unless something changed since the last sign-in.

    A token that was issued before the last one that signed in does not change the record: otherwise two tokens with
    different claims would overwrite it in turns. Its roles are those in its claims.

    Raises ``Unauthenticated`` for a holder who may not sign in, for any reason.
    """
    account_id = workload_account(provider, claims)
    async with sessions() as session:
        if account_id is not None:
            return await sign_workload_in(session, provider, account_id, claims, request_id)
        holder = read_holder(provider, claims)
        link_holder = await queries.find_link_holder(session, provider.id, holder.link)
        if link_holder is None or not link_holder.can_sign_in or link_holder.was_revoked(holder.issued_at):
            raise unauthenticated()
        if link_holder.identity_id is None and not holder.may_join:
            # Known only to the provider. Every request is then refused with the name of the permission.
            return Caller("stranger", uuid5(provider.id, holder.link), frozenset())
        if link_holder.identity_id is not None and _is_up_to_date(link_holder, holder):
            return caller_of(holder, link_holder.identity_id, link_holder.administrator_id)
        caller = await record_sign_in(session, provider, holder, claims, request_id)
        await commit(session)
        return caller


def _is_up_to_date(link_holder: queries.LinkHolder, holder: Holder) -> bool:
    if link_holder.administrator_id is None:
        return not holder.roles
    return link_holder.last_sign_in_at is not None and link_holder.last_sign_in_at >= holder.issued_at
