"""Record a change: one audit event, in the same transaction as the change itself."""

import json
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Uuid, any_, func, literal, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.http.authorization import Caller
from app.lib.ids import new_id
from app.models.audit import AuditEvent, ObjectVersion


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
        changes=None if changes is None else _to_json(changes),
        request_id=request_id,
        **columns,
    )
    session.add(event)
    await session.flush()
    return event.id


async def keep_version(
    session: AsyncSession, kind: str, object_id: UUID, content: dict[str, Any] | None
) -> None:
    """Close the current version of an object and write the next; ``None`` only closes it (the object ended)."""
    latest = await session.scalar(
        select(func.max(ObjectVersion.version)).where(col(ObjectVersion.object_id) == object_id)
    )
    await session.execute(
        update(ObjectVersion)
        .where(col(ObjectVersion.object_id) == object_id, col(ObjectVersion.valid_to).is_(None))
        .values(valid_to=text("now()"))
    )
    if content is not None:
        version = (latest or 0) + 1
        session.add(ObjectVersion(object_id=object_id, version=version, kind=kind, content=_to_json(content)))
    await session.flush()


async def close_versions(session: AsyncSession, object_ids: Iterable[UUID]) -> None:
    """Close the current versions of objects that end together, in one statement."""
    # One array parameter: a bulk may need more than the 32,767 parameters of a statement.
    ids = literal(list(object_ids), ARRAY(Uuid))
    await session.execute(
        update(ObjectVersion)
        .where(col(ObjectVersion.object_id) == any_(ids), col(ObjectVersion.valid_to).is_(None))
        .values(valid_to=text("now()"))
    )


def _to_json(content: dict[str, Any]) -> Any:
    """Convert the content to JSON-ready values."""
    return json.loads(json.dumps(content, default=str))
