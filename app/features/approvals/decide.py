"""Decide an approval: once, by a person who may, and never on a call or request of their own. See ADR 14.

Also cancels approvals when their token, identity or group ends, so that they can no longer be decided or used.
"""

from collections.abc import Collection
from datetime import timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import func, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.approval_channel import notify_decided
from app.db.webhook_events import WebhookEvent, approval_message, enqueue
from app.domain.errors import Conflict, Forbidden, NotFound
from app.features.approvals.queries import find_approval, lock_approval, lock_membership, member_of
from app.features.approvals.views import facts_of
from app.features.audit.record import keep_version, record, record_each
from app.http.authorization import Caller, Permission
from app.http.etags import Precondition
from app.lib.ids import GRANT, format_id
from app.models.access import Approval

HISTORY_KIND = "approval"
_VOID_REASONS = {
    "token_ended": "the token of the call is revoked or expired",
    "identity_offboarded": "the requester is offboarded",
    "definition_changed": "the tool is removed, or its definition changed",
    "risk_changed": "the risk of the tool changed",
    "policies_changed": "a policy that required it changed",
    "not_requestable": "the server can no longer be requested",
}


class Verdict(StrEnum):
    """The decision, with the value of the resulting state."""

    APPROVED = "approved"
    DENIED = "denied"


_ACTIONS = {Verdict.APPROVED: "approval.approve", Verdict.DENIED: "approval.deny"}
_EVENTS = {Verdict.APPROVED: WebhookEvent.APPROVAL_APPROVED, Verdict.DENIED: WebhookEvent.APPROVAL_DENIED}


async def require_approval(session: AsyncSession, caller: Caller, approval_id: UUID) -> Approval:
    """Read an approval that the caller may see. Raises ``NotFound``."""
    row = await find_approval(session, caller, approval_id)
    if row is None:
        raise NotFound("There is no such approval.")
    return row


async def approve_call(
    session: AsyncSession,
    caller: Caller,
    approval_id: UUID,
    reason: str | None,
    if_match: Precondition,
    *,
    ttl: timedelta,
    request_id: str | None,
) -> Approval:
    """Let a call through, once, within ``ttl`` from now. Raises as ``begin_decision`` and ``check_not_void`` do."""
    row = await begin_decision(session, caller, approval_id, if_match)
    await check_not_void(session, caller, row)
    row.expires_at = func.clock_timestamp() + ttl  # type: ignore[assignment]
    return await finish_decision(session, caller, row, Verdict.APPROVED, reason, request_id)


async def deny_approval(
    session: AsyncSession,
    caller: Caller,
    approval_id: UUID,
    reason: str | None,
    if_match: Precondition,
    *,
    request_id: str | None,
) -> Approval:
    """Refuse a call, until the approval would have expired, or an access request. Raises as ``begin_decision`` does."""
    row = await begin_decision(session, caller, approval_id, if_match)
    return await finish_decision(session, caller, row, Verdict.DENIED, reason, request_id)


async def begin_decision(
    session: AsyncSession, caller: Caller, approval_id: UUID, if_match: Precondition
) -> Approval:
    """Lock an approval that is pending and that the caller may decide.

    Raises ``NotFound``, ``Forbidden`` (also ``own_approval``), ``PreconditionFailed``, and ``Conflict`` for one that is
    decided or expired.
    """
    await require_approval(session, caller, approval_id)
    row, state = await lock_approval(session, approval_id)
    await check_may_decide(session, caller, row)
    if_match.check(row.revision)
    check_pending(row, state)
    return row


async def check_not_void(session: AsyncSession, caller: Caller, row: Approval) -> None:
    """Raise ``Conflict`` for a void approval."""
    void = (await facts_of(session, caller, [row.id]))[row.id].void
    if void is not None:
        raise Conflict(f"This approval is void: {_VOID_REASONS[void]}.", code="approval_void")


async def finish_decision(
    session: AsyncSession,
    caller: Caller,
    row: Approval,
    verdict: Verdict,
    reason: str | None,
    request_id: str | None,
) -> Approval:
    """Record the decision on a locked approval, with its history, audit event and notifications."""
    row.state, row.decision_reason = verdict.value, reason
    row.decided_by, row.decided_by_type = caller.id, caller.kind
    row.decided_at = func.clock_timestamp()  # type: ignore[assignment]
    row.revision += 1
    await session.flush()
    await session.refresh(row)
    await _tell(session, caller, row, verdict, request_id)
    return row


async def check_may_decide(session: AsyncSession, caller: Caller, row: Approval) -> None:
    """Raise ``Forbidden`` unless the caller may decide this. Locks the membership that allows it."""
    facts = (await facts_of(session, caller, [row.id]))[row.id]
    if facts.own:
        raise Forbidden(
            "You cannot decide your own request or that of an agent that you own; ask another person.",
            code="own_approval",
        )
    if caller.identity_id is None:
        # It cannot be ruled out that the request is their own.
        raise Forbidden("The break-glass administrator cannot decide approvals: sign in as a person.")
    if caller.may(Permission.APPROVALS_DECIDE):
        return
    group, member = facts.group_id, member_of(caller)
    if group is None or member is None or not await lock_membership(session, group, member):
        role = "owns the server" if row.kind == "access" else "the policy names"
        raise Forbidden(
            f"This needs membership of the group that {role}, {facts.group_name or 'which is not there'}, or the "
            f"permission {Permission.APPROVALS_DECIDE.value}, which {caller.lacking}."
        )


def history_content(row: Approval) -> dict[str, Any]:
    """The content of a history entry; the requester and the binding never change."""
    return {
        "state": row.state,
        "decided_by": row.decided_by,
        "decided_by_type": row.decided_by_type,
        "expires_at": row.expires_at and row.expires_at.isoformat(),
    }


def check_pending(row: Approval, state: str) -> None:
    """Raise ``Conflict`` unless the approval is pending."""
    if state == "pending":
        return
    if state == "expired":
        again = (
            "Ask once more."
            if row.kind == "access"
            else "When the call is repeated, it asks for another one."
        )
        raise Conflict(f"This approval has expired. {again}", code="approval_expired")
    raise Conflict(f"This approval is already {state}, which is final.", code="approval_already_decided")


async def _tell(
    session: AsyncSession, caller: Caller, row: Approval, verdict: Verdict, request_id: str | None
) -> None:
    """Record the history, the audit event and the notifications of a decision."""
    await keep_version(session, HISTORY_KIND, row.id, history_content(row))
    changes: dict[str, Any] = {"state": {"from": "pending", "to": row.state}}
    if row.grant_id is not None:
        changes["grant_id"] = format_id(GRANT, row.grant_id)
    if row.decision_reason is not None:
        # Personal: people write the text, and it could not be erased from the audit log.
        changes["decision_reason"] = {"personal": True}
    await record(
        session, caller, _ACTIONS[verdict], "approval", row.id,
        changes=changes, request_id=request_id, approval_id=row.id, token_id=row.token_id,
        server_id=row.server_id, tool=row.tool, policy_ids=row.policy_ids,
    )  # fmt: skip
    group_id = (await facts_of(session, caller, [row.id]))[row.id].group_id
    message = approval_message(
        _EVENTS[verdict], row.id, event_id=row.event_id, identity_id=row.identity_id, token_id=row.token_id,
        server_id=row.server_id, group_id=group_id,
    )  # fmt: skip
    await enqueue(session, message)
    await notify_decided(session, [row.id])


# Locked in the order of ids; a caller that ends many has locked them before, and the others wait here.
_CANCEL = text("""
WITH held AS (
    SELECT id FROM approvals WHERE id = ANY(CAST(:ids AS uuid[]))
    AND (state = 'pending' OR (state = 'approved' AND kind = 'call'))
    ORDER BY id FOR UPDATE
), ended AS (
    UPDATE approvals SET state = 'cancelled', revision = revision + 1, updated_at = now()
    WHERE id IN (SELECT id FROM held) RETURNING id, decided_by, decided_by_type, expires_at
), closed AS (
    UPDATE object_versions SET valid_to = now()
    WHERE object_id IN (SELECT id FROM ended) AND valid_to IS NULL
), history AS (
    INSERT INTO object_versions (object_id, version, kind, content)
    SELECT id, coalesce((SELECT max(version) FROM object_versions WHERE object_id = ended.id), 0) + 1, 'approval',
        jsonb_build_object('state', 'cancelled', 'decided_by', decided_by, 'decided_by_type', decided_by_type,
            'expires_at', expires_at)
    FROM ended
)
SELECT id FROM ended ORDER BY id
""")


async def cancel_approvals(
    session: AsyncSession, caller: Caller, ids: Collection[UUID], because: str, request_id: str | None
) -> list[UUID]:
    """Cancel those of these approvals that are pending or approved, with an event for each; return their ids.

    ``because`` is the reason in the audit log: ``token_revoked``, ``identity_offboarded``, ``group_ended``,
    ``withdrawn``.
    """
    if not ids:
        return []
    ended = list(await session.scalars(_CANCEL, {"ids": list(ids)}))
    await record_each(
        session, caller, "approval.cancel", "approval", ended,
        request_id=request_id, id_column="approval_id", changes={"because": because},
    )  # fmt: skip
    await notify_decided(session, ended)
    return ended
