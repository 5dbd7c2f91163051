"""Record a change: one audit event, in the same transaction as the change itself."""

import json
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.http.authorization import Caller
from app.lib.ids import new_id
from app.models.audit import AuditEvent


async def record(
    session: AsyncSession,
    caller: Caller,
    action: str,
    object_type: str,
    object_id: UUID | None,
    *,
    changes: dict[str, Any] | None = None,
    request_id: str | None = None,
    outcome: str = "success",
    **columns: Any,
) -> UUID:
    """Append one control-plane event and return its id.

    ``changes`` is JSON-ready; it names personal fields without their values and never holds a secret.
    """
    event = AuditEvent(
        id=new_id(),
        action=action,
        actor_type=caller.kind,
        actor_id=caller.id,
        on_behalf_of=caller.identity_id,
        object_type=object_type,
        object_id=object_id,
        outcome=outcome,
        changes=None if changes is None else json.loads(json.dumps(changes, default=str)),
        request_id=request_id,
        **columns,
    )
    session.add(event)
    await session.flush()
    return event.id
