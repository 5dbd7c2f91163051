"""The arguments of a call that waits, for those who have to judge it. Whoever looks at them is on record."""

from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from app.crypto.keys import Sealer
from app.db.call_arguments import kept_arguments
from app.domain.errors import Forbidden
from app.features.approvals.facts import facts_of
from app.features.audit.record import record
from app.http.authorization import Caller, Permission
from app.models.approvals import Approval


async def may_read_arguments(session: AsyncSession, caller: Caller, row: Approval) -> bool:
    """Whether the caller has the permission, or is one of those who can decide this now."""
    if caller.may(Permission.ARGUMENTS_READ):
        return True
    facts = (await facts_of(session, caller, [row.id]))[row.id]
    return bool(facts.state == "pending" and facts.is_approver and not facts.own)


async def read_arguments(
    session: AsyncSession, caller: Caller, row: Approval, sealer: Sealer, request_id: str | None
) -> tuple[bool, Any]:
    """Whether the arguments that are asked about are kept, and which they are. Raises ``Forbidden``."""
    if not await may_read_arguments(session, caller, row):
        raise Forbidden(
            f"This needs the permission {Permission.ARGUMENTS_READ.value}, which {caller.lacking}; members of the "
            "group that decides can read them while the approval is pending, unless the call is their own."
        )
    if row.event_id is None:
        return False, None
    kept, arguments = await kept_arguments(session, sealer, row.event_id)
    if kept:
        await record(
            session, caller, "arguments.read", "audit_event", row.event_id,
            request_id=request_id, approval_id=row.id, server_id=row.server_id, tool=row.tool,
        )  # fmt: skip
    return kept, arguments
