"""The roles behind an identity, and the checks that they require before it is ended or changed.

An identity has a role by signing in with it, or by owning a service account that has it, directly or through an agent.
Administrators and service accounts are higher features, so they are read by SQL. The identity must be locked: both are
created under a lock on it.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.domain.errors import Conflict, Forbidden
from app.features.identities.queries import persons_behind
from app.features.identity_providers.queries import same_claim
from app.http.authorization import Caller, Role, authorize_acting_on
from app.models.identities import Identity

_OWNERS_LOCK = 0x5C09E0B01
# An account with any status: a disabled one can be enabled again.
_ROLES = text("""
SELECT role_assignments.role FROM administrators
JOIN role_assignments ON role_assignments.administrator_id = administrators.id
WHERE administrators.identity_id = :id
UNION
SELECT service_accounts.role FROM service_accounts JOIN identities ON identities.id = service_accounts.owner_id
WHERE service_accounts.ended_at IS NULL AND (identities.id = :id OR identities.owner_id = :id)
""")
_OWNERS = text(f"""
SELECT 'administrator', administrators.id, person.id, person.id FROM administrators
JOIN role_assignments ON role_assignments.administrator_id = administrators.id AND role_assignments.role = 'owner'
JOIN identities person ON person.id = administrators.identity_id
WHERE administrators.status = 'active' AND person.status = 'active' AND EXISTS (
    SELECT 1 FROM identity_links link JOIN identity_providers known ON known.id = link.provider_id
    JOIN identity_providers entry ON {same_claim("entry", "known")}
    WHERE link.identity_id = person.id AND link.kind = 'oidc' AND entry.status = 'active' AND entry.ended_at IS NULL
        AND jsonb_path_exists(entry.settings, '$.role_map.* ? (@ == "owner")')
)
UNION ALL
SELECT 'service_account', account.id, holder.id, coalesce(answering.id, holder.id) FROM service_accounts account
JOIN identities holder ON holder.id = account.owner_id AND holder.status = 'active'
LEFT JOIN identities answering ON answering.id = holder.owner_id
WHERE account.role = 'owner' AND account.status = 'active' AND account.ended_at IS NULL
    AND NOT account.owner_offboarded AND (answering.id IS NULL OR answering.status = 'active')
    AND EXISTS (
        SELECT 1 FROM service_account_credentials WHERE service_account_id = account.id AND revoked_at IS NULL
    )
""")  # noqa: S608 - the only value is a constant


@dataclass(frozen=True, slots=True)
class ActiveOwner:
    """An administrator or service account that can act with the role owner now. ``person_id`` is the person behind
    it."""

    kind: Literal["administrator", "service_account"]
    id: UUID
    identity_id: UUID
    person_id: UUID


async def roles_behind(session: AsyncSession, identity_id: UUID) -> frozenset[Role]:
    """The roles that an identity has itself, or by service accounts that it or its agents own."""
    return frozenset(Role(role) for role in await session.scalars(_ROLES, {"id": identity_id}))


async def check_not_self(session: AsyncSession, caller: Caller, identity_id: UUID) -> None:
    """Raise ``Forbidden`` for the caller's own identity, also when a service account or an agent of theirs asks."""
    if identity_id in await persons_behind(session, caller.identity_id):
        raise Forbidden("This is your own identity; another administrator has to do it.", code="own_account")


async def check_may_change(session: AsyncSession, caller: Caller, identity_id: UUID) -> None:
    """Raise ``Forbidden`` when the identity has a role above the caller's."""
    authorize_acting_on(caller, await roles_behind(session, identity_id))


async def check_may_end(session: AsyncSession, caller: Caller, identity: Identity) -> None:
    """Raise ``Forbidden`` for the caller's own identity and for one with a higher role, ``Conflict`` for the last
    active owner."""
    await check_not_self(session, caller, identity.id)
    await check_may_change(session, caller, identity.id)
    await check_remaining_owner(session, lambda owner: identity.id in {owner.identity_id, owner.person_id})


async def check_remaining_owner(session: AsyncSession, ends: Callable[[ActiveOwner], bool]) -> None:
    """Raise ``Conflict`` when a change ends every active owner; until the transaction ends, no other change can."""
    if not any(ends(owner) for owner in await _active_owners(session)):
        return
    await _lock_owners(session)
    if all(ends(owner) for owner in await _active_owners(session)):
        raise Conflict(
            "This is the last active owner; give another person or service account the role owner first.",
            code="last_owner",
        )


@asynccontextmanager
async def require_remaining_owner(session: AsyncSession) -> AsyncIterator[None]:
    """Raise ``Conflict`` when the flushed changes end every active owner. For changes whose effect on owners is not
    known beforehand; otherwise use ``check_remaining_owner``."""
    before = await _active_owners(session)
    yield
    if not before or await _active_owners(session) == before:
        return
    await _lock_owners(session)
    if not await _active_owners(session):
        raise Conflict(
            "No active owner could sign in any more; give another person or service account the role owner first.",
            code="last_owner",
        )


async def _lock_owners(session: AsyncSession) -> None:
    """Serialize changes, so that two owners cannot end each other. Read them again after it: it may have waited."""
    await session.execute(select(func.pg_advisory_xact_lock(_OWNERS_LOCK)))


async def _active_owners(session: AsyncSession) -> set[ActiveOwner]:
    return {ActiveOwner(*row) for row in await session.execute(_OWNERS)}
