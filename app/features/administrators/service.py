"""Disable and enable administrators. Who is one, and with which roles, the identity provider decides."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.change import Change
from app.db.rows import existing
from app.domain.errors import Conflict
from app.features.administrators.queries import find_administrator
from app.features.administrators.sign_in import ADMINISTRATOR
from app.features.browser_sessions.service import end_browser_sessions
from app.features.identities.queries import lock_identity
from app.features.identities.role_checks import check_may_change, check_not_self, check_remaining_owner
from app.http.etags import Precondition
from app.models.identities import Administrator, Identity


async def get_administrator(session: AsyncSession, id: UUID) -> Administrator:
    """Read an administrator. Raises ``NotFound``."""
    return existing(await session.get(Administrator, id), "administrator")


async def disable_administrator(change: Change, id: UUID, if_match: Precondition) -> Administrator:
    """Disable an administrator.

    Raises ``NotFound``, ``PreconditionFailed``, ``Forbidden`` for the caller's own and for a higher role, and
    ``Conflict`` for the last active owner.
    """
    administrator, _ = await _lock_to_change(change, id, if_match)
    await check_remaining_owner(change.session, lambda owner: owner.id == administrator.id)
    await _set_status(change, administrator, "disabled")
    await end_browser_sessions(change.session, administrator.identity_id)
    return administrator


async def enable_administrator(change: Change, id: UUID, if_match: Precondition) -> Administrator:
    """Enable a disabled administrator.

    Raises ``NotFound``, ``PreconditionFailed``, ``Forbidden`` for the caller's own and for a higher role, and
    ``Conflict``.
    """
    administrator, person = await _lock_to_change(change, id, if_match)
    if person.status != "active":
        raise Conflict(
            f"This person is {person.status}; reinstate the identity first.", code="identity_not_active"
        )
    await _set_status(change, administrator, "active")
    return administrator


async def _lock_to_change(change: Change, id: UUID, if_match: Precondition) -> tuple[Administrator, Identity]:
    """Lock the administrator and the person in the order of sign-ins and offboardings."""
    session = change.session
    unlocked = await get_administrator(session, id)
    person = existing(await lock_identity(session, unlocked.identity_id, share=True), "administrator")
    locked = await find_administrator(session, unlocked.identity_id, lock=True)
    administrator = existing(locked, "administrator")
    if_match.check(administrator.revision)
    await check_not_self(session, change.caller, person.id)
    await check_may_change(session, change.caller, person.id)
    return administrator, person


def disable_with_person(administrator: Administrator) -> None:
    """Disable the locked administrator of a leaver, under the event of the offboarding."""
    administrator.status = "disabled"
    administrator.revision += 1


async def _set_status(change: Change, administrator: Administrator, status: str) -> None:
    if administrator.status == status:
        return
    before = ADMINISTRATOR.values(administrator)
    administrator.status = status
    administrator.revision += 1
    await change.session.flush()
    await change.session.refresh(administrator)
    action = "administrator.enable" if status == "active" else "administrator.disable"
    change.record(action, ADMINISTRATOR, before, administrator)
