"""Disable and enable administrators. Who is one, and with which roles, the identity provider decides."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.domain.errors import Conflict, NotFound
from app.features.administrators.queries import lock_administrator
from app.features.administrators.sign_in import ADMINISTRATOR_KIND
from app.features.audit.record import record
from app.features.identities.queries import end_browser_sessions, lock_identity
from app.features.identities.role_checks import check_may_change, check_not_self, check_remaining_owner
from app.http.authorization import Caller
from app.models.identities import Administrator, Identity


async def load(session: AsyncSession, id: UUID) -> Administrator:
    """Read an administrator. Raises ``NotFound``."""
    administrator = await session.get(Administrator, id)
    if administrator is None:
        raise NotFound("There is no such administrator.")
    return administrator


async def lock_with_person(session: AsyncSession, id: UUID) -> tuple[Administrator, Identity]:
    """Lock the administrator and the person in the order of sign-ins and offboardings. Raises ``NotFound``."""
    unlocked = await load(session, id)
    person = await lock_identity(session, unlocked.identity_id, share=True)
    administrator = await lock_administrator(session, unlocked.identity_id)
    if person is None or administrator is None:
        raise NotFound("There is no such administrator.")
    return administrator, person


async def disable(
    session: AsyncSession, caller: Caller, administrator: Administrator, request_id: str | None
) -> None:
    """Disable a locked administrator. Raises ``Forbidden`` for the caller's own and for a higher role, ``Conflict`` for
    the last active owner."""
    await check_not_self(session, caller, administrator.identity_id)
    await check_may_change(session, caller, administrator.identity_id)
    await check_remaining_owner(session, lambda owner: owner.id == administrator.id)
    await _set_status(session, caller, administrator, "disabled", request_id)
    await end_browser_sessions(session, administrator.identity_id)


async def enable(
    session: AsyncSession,
    caller: Caller,
    administrator: Administrator,
    person: Identity,
    request_id: str | None,
) -> None:
    """Enable a locked administrator. Raises ``Forbidden`` for the caller's own, ``Conflict``."""
    await check_not_self(session, caller, administrator.identity_id)
    await check_may_change(session, caller, administrator.identity_id)
    if person.status != "active":
        raise Conflict(
            f"This person is {person.status}; reinstate the identity first.", code="identity_not_active"
        )
    await _set_status(session, caller, administrator, "active", request_id)


async def _set_status(
    session: AsyncSession,
    caller: Caller,
    administrator: Administrator,
    status: str,
    request_id: str | None,
) -> None:
    before = administrator.status
    if before == status:
        return
    administrator.status = status
    administrator.revision += 1
    await session.flush()
    await session.refresh(administrator)
    action = "administrator.enable" if status == "active" else "administrator.disable"
    changes = {"status": {"from": before, "to": status}}
    await record(
        session, caller, action, ADMINISTRATOR_KIND, administrator.id, changes=changes, request_id=request_id
    )
