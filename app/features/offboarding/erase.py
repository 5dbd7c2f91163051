"""Erase the personal data of an identity for good; its id stays, and the history of its actions. See ADR 9.

The audit log is unchanged, since it holds only ids. Free text about this identity is emptied in tables and histories:
its attributes, the names, addresses and reasons of its tokens, and the reasons of its grants, approvals and
offboarding. Each feature erases its own tables.
"""

from uuid import UUID

from sqlalchemy import text

from app.db.change import PERSONAL, Change
from app.db.webhook_events import WebhookEvent
from app.domain.errors import Conflict
from app.features.approvals import service as approvals
from app.features.grants import service as grants
from app.features.identities.role_checks import check_may_change
from app.features.identities.service import IDENTITY, erase_person, lock_existing
from app.features.invitations import service as invitations
from app.features.servers import credentials as servers
from app.features.tokens import service as tokens
from app.http.etags import Precondition
from app.http.idempotency import erase_responses
from app.lib import ids
from app.lib.ids import format_id
from app.models.identities import Identity

_RECEIPTS = text("UPDATE offboarding_receipts SET body = body - 'reason' WHERE identity_id = :id")
_SCHEDULES = text("""
UPDATE scheduled_offboardings SET reason = NULL, revision = revision + 1, updated_at = now()
WHERE identity_id = :id AND reason IS NOT NULL
""")


async def erase_identity(change: Change, id: UUID, if_match: Precondition) -> Identity:
    """Erase the personal data of an identity; a repeat changes nothing.

    Raises ``NotFound``, ``PreconditionFailed``, ``Forbidden`` for one with a role above the caller's, and ``Conflict``
    for one that is not offboarded.
    """
    session = change.session
    identity = await lock_existing(session, id)
    if_match.check(identity.revision)
    if identity.erased_at is not None:
        return identity
    if identity.status != "offboarded":
        raise Conflict(
            "Only an offboarded identity can be erased; offboard it first.", code="identity_not_offboarded"
        )
    await check_may_change(session, change.caller, id)
    details = {name: PERSONAL for name in IDENTITY.personal if getattr(identity, name) not in (None, {})}
    shown_id = format_id(ids.IDENTITY, id)
    await erase_person(change, identity)
    # In the order of locks.
    for feature in (grants, tokens, approvals):
        await feature.erase(change, id)
    await session.execute(_RECEIPTS, {"id": id})
    await session.execute(_SCHEDULES, {"id": id})
    await invitations.erase(change, id)
    await servers.erase(change, id)
    await erase_responses(session, shown_id)
    # A policy may read any attribute. A receiver with a copy of this person's data must erase it too.
    change.record(
        "identity.erase", IDENTITY, identity, identity,
        details=details, narrows=[id], webhook=WebhookEvent.IDENTITY_ERASED,
    )  # fmt: skip
    await session.refresh(identity)
    return identity
