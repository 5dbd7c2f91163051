"""Recorded calls that policy decided, and what is needed to decide them again: who called, and with what."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.crypto.keys import Sealed, Sealer, UnsealingFault
from app.db.call_arguments import open_arguments
from app.models.audit import AuditArguments

AT_ONCE = 1_000
_NEAR = timedelta(days=1)
# Calls that were denied before policy was asked tell nothing of policy.
_BY_POLICY = ["policy_denied", "policy_error", "policy_not_permitted", "quota_exceeded"]
_CALLS = text("""
SELECT e.id, e.time, e.epoch, e.xact, e.seq, e.actor_id, e.token_id, e.server_id, e.tool,
       e.arguments_digest IS NULL AS bare, c.ip, c.name, c.version
FROM audit_events e LEFT JOIN audit_clients c ON c.id = e.client_id
WHERE e.time >= :since AND e.time < :until AND e.action = 'tool.call'
    AND e.token_id IS NOT NULL AND e.actor_id IS NOT NULL AND e.server_id IS NOT NULL AND e.tool IS NOT NULL
    AND (e.decision IN ('allow', 'require_approval') OR e.reason_code = ANY(CAST(:by_policy AS text[])))
    AND (CAST(:epoch AS int) IS NULL OR e.epoch < :epoch OR (e.epoch = :epoch AND (e.xact, e.seq) < (:xact, :seq)))
ORDER BY e.epoch DESC, e.xact DESC, e.seq DESC LIMIT :most
""")
_CHAINS = text("""
WITH RECURSIVE family AS (
    SELECT id, parent_id, identity_id FROM tokens WHERE id = ANY(CAST(:ids AS uuid[]))
    UNION SELECT t.id, t.parent_id, t.identity_id FROM tokens t JOIN family ON t.id = family.parent_id
)
SELECT id, parent_id, identity_id FROM family
""")


async def newest_calls(
    session: AsyncSession, since: datetime, until: datetime, most: int
) -> tuple[list[Any], bool]:
    """The newest of these calls, oldest first, and whether these are all."""
    found: list[Any] = []
    while len(found) <= most:
        last = found[-1] if found else None
        place = {name: getattr(last, name, None) for name in ("epoch", "xact", "seq")}
        window = {"since": since, "until": until, "by_policy": _BY_POLICY, "most": AT_ONCE}
        rows = (await session.execute(_CALLS, window | place)).all()
        found += rows
        if len(rows) < AT_ONCE:
            break
    return found[:most][::-1], len(found) <= most


async def chains_of(session: AsyncSession, tokens: Collection[UUID]) -> dict[UUID, tuple[UUID | None, UUID]]:
    """(parent, identity) of these tokens and of all that they were attenuated from."""
    rows = await session.execute(_CHAINS, {"ids": sorted(tokens)})
    return {row.id: (row.parent_id, row.identity_id) for row in rows}


async def arguments_of(session: AsyncSession, sealer: Sealer, calls: Sequence[Any]) -> Mapping[UUID, Any]:
    """The arguments of those of the calls of which they are kept, and open with a configured key."""
    if not calls:
        return {}
    times = [call.time for call in calls]
    statement = select(AuditArguments).where(
        col(AuditArguments.call_id).in_([call.id for call in calls]),
        col(AuditArguments.time).between(min(times) - _NEAR, max(times) + _NEAR),
    )
    found = {}
    for row in await session.scalars(statement):
        try:
            found[row.call_id] = open_arguments(sealer, row.call_id, Sealed(row.key_id, row.sealed))
        except UnsealingFault:
            continue
    return found
