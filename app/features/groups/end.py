"""The end of a group, which is the end of what it was granted and of what it was to decide."""

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.db.change import Change
from app.db.versions import move_versions
from app.db.webhook_events import WebhookEvent
from app.features.approvals.decide import cancel_approvals
from app.features.approvals.queries import open_approvals
from app.features.audit.record import record
from app.features.grants.queries import lock_grants_of_group
from app.features.grants.service import GRANT
from app.features.groups import service as groups
from app.http.authorization import Caller
from app.lib import ids
from app.lib.ids import IDENTITY, format_id
from app.models.approvals import Approval
from app.models.groups import Group


async def end_group(
    session: AsyncSession, caller: Caller, group: Group, now: datetime, request_id: str | None
) -> None:
    """End a group locked exclusively, with its memberships and grants, and the approvals that it was to decide, in
    one transaction."""
    grants = await lock_grants_of_group(session, group.id)
    # Before the memberships, as whoever decides one locks them.
    approvals = await open_approvals(session, col(Approval.approver_group_id) == group.id, lock=True)
    await cancel_approvals(session, caller, approvals, "group_ended", request_id)
    for grant in grants:
        grant.ended_at = now
        grant.revision += 1
    members = await groups.end_group(session, group, now)
    await move_versions(session, [group.id, *members, *(grant.id for grant in grants)], narrows=True)
    changes = {
        "ended_grants": [format_id(ids.GRANT, grant.id) for grant in grants],
        "removed_members": [format_id(IDENTITY, id) for id in members],
    }
    event_id = await record(
        session, caller, "group.end", "group", group.id, changes=changes, request_id=request_id
    )
    change = Change(session, caller, request_id, now)
    for grant in grants:
        change.record_with(event_id, GRANT, grant, None, webhook=WebhookEvent.GRANT_ENDED)
