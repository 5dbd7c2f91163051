"""Erasing: whatever says who somebody was goes, for good; the id stays, and what happened under it.

The audit trail is not touched, and need not be: it holds ids. Of the places that people write into freely, those are
emptied that are about this identity: its attributes, the names, addresses and reasons of its tokens, the reasons of its
grants, of its approvals and of its offboarding.
"""

from typing import Any

from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.outbox import tell
from app.db.versions import move_versions
from app.db.webhook_events import WebhookEvent, identity_message
from app.domain.errors import Conflict
from app.features.audit.record import record
from app.features.identities import erase_queries as queries
from app.features.identities.links import erased_link
from app.features.identities.queries import links_of
from app.features.identities.service import PERSONAL_FIELDS
from app.features.identities.standing import check_may_change
from app.features.invitations.queries import erase_invitations
from app.http.authorization import Caller
from app.http.idempotency import erase_answers
from app.lib.ids import IDENTITY, format_id
from app.models.identities import Identity


async def erase_identity(
    session: AsyncSession, caller: Caller, identity: Identity, request_id: str | None
) -> None:
    """Take the personal data of a locked identity; nothing more happens to one that is erased already.

    Raises ``Forbidden`` for one with a role above the caller's, ``Conflict`` for one that is not offboarded.
    """
    if identity.erased_at is not None:
        return
    if identity.status != "offboarded":
        raise Conflict(
            "Only an offboarded identity can be erased; offboard it first.", code="identity_not_offboarded"
        )
    await check_may_change(session, caller, identity.id)
    changes: dict[str, Any] = {
        name: {"personal": True}
        for name in sorted(PERSONAL_FIELDS)
        if getattr(identity, name) not in (None, {})
    }
    shown_id = format_id(IDENTITY, identity.id)
    # A name has to be there; this one says nothing that the id does not.
    identity.user_name = shown_id
    identity.display_name = identity.email = identity.external_id = None
    identity.attributes = {}
    identity.erased_at = func.now()  # type: ignore[assignment]
    identity.revision += 1
    for link in (await links_of(session, [identity.id]))[identity.id]:
        link.value = erased_link(link.kind, link.value)
    await session.flush()
    await queries.erase_history(session, identity.id)
    await queries.erase_grants(session, identity.id)
    await queries.erase_tokens(session, identity.id)
    await queries.erase_approvals(session, identity.id)
    await queries.erase_receipts(session, identity.id)
    await erase_invitations(session, identity.id)
    await queries.erase_scim_user(session, identity.id, shown_id)
    await queries.remove_credentials(session, identity.id)
    await erase_answers(session, shown_id)
    # A policy may read any attribute.
    await move_versions(session, [identity.id], narrows=True)
    event_id = await record(
        session, caller, "identity.erase", "identity", identity.id, changes=changes, request_id=request_id
    )
    # Whoever keeps a copy of what the API said of this person is to take it out, too.
    await tell(session, identity_message(WebhookEvent.IDENTITY_ERASED, identity.id, event_id))
    await session.refresh(identity)
