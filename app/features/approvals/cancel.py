"""Ending approvals with what they hang on: a token, an identity, a group. Nobody can decide or use them any more."""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.approval_channel import notify_decided
from app.features.audit.record import record_each
from app.http.authorization import Caller

# Locked in id order; whoever ends many has locked them before, and the rest waits its turn here.
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
    """End those of these that are pending or approved, with an event for each; the ids of those that ended.

    ``because`` is a word for the audit trail: ``token_revoked``, ``identity_offboarded``, ``group_ended``,
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
