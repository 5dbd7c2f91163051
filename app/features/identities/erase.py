"""Erase the personal data of an identity for good; its id stays, and the history of its actions. See ADR 9.

The audit log is unchanged, since it holds only ids. Free text about this identity is emptied in tables and histories:
its attributes, the names, addresses and reasons of its tokens, and the reasons of its grants, approvals and
offboarding.
"""

from typing import Any
from uuid import UUID

from sqlalchemy import func, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.versions import move_versions
from app.db.webhook_events import WebhookEvent, enqueue, identity_message
from app.domain.errors import Conflict
from app.features.audit.record import record
from app.features.identities.queries import erased_link, links_of
from app.features.identities.role_checks import check_may_change
from app.features.identities.service import PERSONAL_FIELDS
from app.features.invitations.queries import erase_invitations
from app.http.authorization import Caller
from app.http.idempotency import erase_answers
from app.lib.ids import IDENTITY, TOKEN, format_id, parse_id
from app.models.identities import Identity

# Rows are locked in id order, as everywhere. A person's requests for their agents are in the person's words too.
_GRANTS = text("""
WITH mine AS (
    SELECT id FROM grants WHERE identity_id = :id OR (
        approval_id IS NOT NULL AND identity_id IN (SELECT id FROM identities WHERE owner_id = :id)
    ) ORDER BY id FOR UPDATE
),
history AS (
    UPDATE object_versions SET content = jsonb_set(content, '{reason}', 'null')
    WHERE object_id IN (SELECT id FROM mine) AND kind = 'grant' AND content ->> 'reason' IS NOT NULL
)
UPDATE grants SET reason = NULL, revision = revision + 1, updated_at = now()
WHERE id IN (SELECT id FROM mine) AND reason IS NOT NULL
""")

# A reason is stored with everything that ended with a token or the person: child tokens, and those of agents.
_TOKENS = text("""
WITH RECURSIVE family AS (
    SELECT id FROM tokens WHERE identity_id = :id
    UNION SELECT id FROM unnest(CAST(:ended AS uuid[])) ended(id)
    UNION SELECT below.id FROM tokens below JOIN family ON below.parent_id = family.id
),
held AS (SELECT id FROM tokens WHERE id IN (SELECT id FROM family) ORDER BY id FOR UPDATE),
history AS (
    UPDATE object_versions SET content = jsonb_set(content, '{ip_allow}', '[]')
    WHERE kind = 'token_scope' AND object_id IN (SELECT id FROM tokens WHERE identity_id = :id)
)
UPDATE tokens SET
    name = CASE WHEN identity_id = :id THEN 'erased' ELSE name END,
    ip_allow = CASE WHEN identity_id = :id THEN '{}' ELSE ip_allow END,
    revoke_reason = NULL, revision = revision + 1, updated_at = now()
WHERE id IN (SELECT id FROM held) AND (identity_id = :id OR revoke_reason IS NOT NULL)
""")
_APPROVALS = text("""
WITH mine AS (
    SELECT id FROM approvals WHERE identity_id = :id OR (
        kind = 'access' AND identity_id IN (SELECT id FROM identities WHERE owner_id = :id)
    ) ORDER BY id FOR UPDATE
)
UPDATE approvals SET reason = NULL, decision_reason = NULL, revision = revision + 1, updated_at = now()
WHERE id IN (SELECT id FROM mine) AND (reason IS NOT NULL OR decision_reason IS NOT NULL)
""")

# Drafts by a person, and those by others for the person; there are few, of one day.
_DRAFTS = text("DELETE FROM token_drafts WHERE person_id = :id OR content ->> 'identity_id' = :shown_id")
_RECEIPTS = text("UPDATE offboarding_receipts SET body = body - 'reason' WHERE identity_id = :id")
_SCHEDULES = text("""
UPDATE scheduled_offboardings SET reason = NULL, revision = revision + 1, updated_at = now()
WHERE identity_id = :id AND reason IS NOT NULL
""")
_ENDED = text("""
SELECT ended #>> '{}' FROM offboarding_receipts, jsonb_array_elements(body -> 'revoked' -> 'tokens') ended
WHERE identity_id = :id
""")
_HISTORY = text("""
UPDATE object_versions SET content = jsonb_set(content, '{attributes}', '{}')
WHERE object_id = :id AND kind = 'identity'
""")
_SCIM_USER = text("""
UPDATE scim_users
SET user_name = :shown_id, external_id = NULL, profile = '{}', deleted_at = coalesce(deleted_at, now())
WHERE identity_id = :id
""")
_CREDENTIALS = text("DELETE FROM server_credentials WHERE identity_id = :id")


async def erase_history(session: AsyncSession, identity_id: UUID) -> None:
    """Erase the former attributes."""
    await session.execute(_HISTORY, {"id": identity_id})


async def erase_grants(session: AsyncSession, identity_id: UUID) -> None:
    """Erase the reasons of the identity's grants."""
    await session.execute(_GRANTS, {"id": identity_id})


async def erase_tokens(session: AsyncSession, identity_id: UUID) -> None:
    """Erase the names and addresses of the tokens, drafts of them, and the reasons of revocations."""
    ended = [parse_id(TOKEN, row[0]) for row in await session.execute(_ENDED, {"id": identity_id})]
    await session.execute(_TOKENS, {"id": identity_id, "ended": ended})
    await session.execute(_DRAFTS, {"id": identity_id, "shown_id": format_id(IDENTITY, identity_id)})


async def erase_approvals(session: AsyncSession, identity_id: UUID) -> None:
    """Erase the reasons of requests and of decisions."""
    await session.execute(_APPROVALS, {"id": identity_id})


async def erase_receipts(session: AsyncSession, identity_id: UUID) -> None:
    """Erase the reason of the offboarding; what ended with it stays, by id."""
    await session.execute(_RECEIPTS, {"id": identity_id})
    await session.execute(_SCHEDULES, {"id": identity_id})


async def erase_scim_user(session: AsyncSession, identity_id: UUID, shown_id: str) -> None:
    """Erase all SCIM data of the identity, so that its directory does not find it any more; ``shown_id`` replaces its
    name."""
    await session.execute(_SCIM_USER, {"id": identity_id, "shown_id": shown_id})


async def remove_credentials(session: AsyncSession, identity_id: UUID) -> None:
    """Delete its own credentials for servers. No call can ever use them again, so no version moves."""
    await session.execute(_CREDENTIALS, {"id": identity_id})


async def erase_identity(
    session: AsyncSession, caller: Caller, identity: Identity, request_id: str | None
) -> None:
    """Erase the personal data of a locked identity; a repeat changes nothing.

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
    # A name is required; this one reveals nothing beyond the id.
    identity.user_name = shown_id
    identity.display_name = identity.email = identity.external_id = None
    identity.attributes = {}
    identity.erased_at = func.now()  # type: ignore[assignment]
    identity.revision += 1
    for link in (await links_of(session, [identity.id]))[identity.id]:
        link.value = erased_link(link.kind, link.value)
    await session.flush()
    await erase_history(session, identity.id)
    await erase_grants(session, identity.id)
    await erase_tokens(session, identity.id)
    await erase_approvals(session, identity.id)
    await erase_receipts(session, identity.id)
    await erase_invitations(session, identity.id)
    await erase_scim_user(session, identity.id, shown_id)
    await remove_credentials(session, identity.id)
    await erase_answers(session, shown_id)
    # A policy may read any attribute.
    await move_versions(session, [identity.id], narrows=True)
    event_id = await record(
        session, caller, "identity.erase", "identity", identity.id, changes=changes, request_id=request_id
    )
    # A receiver with a copy of this person's data must erase it too.
    await enqueue(session, identity_message(WebhookEvent.IDENTITY_ERASED, identity.id, event_id))
    await session.refresh(identity)
