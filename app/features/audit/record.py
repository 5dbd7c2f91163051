"""Record a change: one audit event, in the same transaction as the change itself."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Uuid, any_, func, insert, literal, select, text, update
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


_MADE = text("""
WITH version AS (
    INSERT INTO object_versions (object_id, version, kind, content)
    VALUES (:object_id, 1, :kind, CAST(:content AS jsonb))
)
INSERT INTO audit_events (
    id, action, actor_type, actor_id, on_behalf_of, object_type, object_id, token_id, outcome, changes, request_id
)
VALUES (
    :id, :action, :actor_type, :actor_id, :on_behalf_of, :object_type, :object_id, :token_id, 'success',
    CAST(:changes AS jsonb), :request_id
)
""")


async def record_created(
    session: AsyncSession,
    caller: Caller,
    action: str,
    object_type: str,
    object_id: UUID,
    *,
    event_id: UUID,
    kind: str,
    content: dict[str, Any],
    changes: dict[str, Any],
    request_id: str | None,
    token_id: UUID,
) -> None:
    """``record`` (with the event id given by the caller) and ``keep_version`` for a new object, in one round trip."""
    values = {
        "id": event_id,
        "action": action,
        "actor_type": caller.kind,
        "actor_id": caller.id,
        "on_behalf_of": caller.identity_id,
        "object_type": object_type,
        "object_id": object_id,
        "token_id": token_id,
        "request_id": request_id,
        "kind": kind,
        "content": json.dumps(content, default=str),
        "changes": json.dumps(changes, default=str),
    }
    await session.execute(_MADE, values)


async def record_each(
    session: AsyncSession,
    caller: Caller,
    action: str,
    object_type: str,
    object_ids: Collection[UUID],
    *,
    request_id: str | None = None,
    id_column: str,
    changes: dict[str, Any] | None = None,
) -> dict[UUID, UUID]:
    """Append one event for each of many objects; return the event ids by object. The object's id is also written to
    ``id_column``, such as ``token_id``; ``changes`` has the changes of each object."""
    event = {
        "action": action,
        "actor_type": caller.kind,
        "actor_id": caller.id,
        "on_behalf_of": caller.identity_id,
        "object_type": object_type,
        "outcome": "success",
        "changes": changes,
        "request_id": request_id,
    }
    events = {id: new_id() for id in object_ids}
    rows = [event | {"id": event_id, "object_id": id, id_column: id} for id, event_id in events.items()]
    if rows:
        await session.execute(insert(AuditEvent), rows)
    return events


async def record_all(
    session: AsyncSession,
    caller: Caller,
    object_type: str,
    changed: Sequence[tuple[str, UUID, dict[str, Any]]],
    *,
    request_id: str | None,
) -> list[UUID]:
    """Append an event for each of many objects, in order, as (action, object, changes); return their ids."""
    event = {
        "actor_type": caller.kind,
        "actor_id": caller.id,
        "on_behalf_of": caller.identity_id,
        "object_type": object_type,
        "outcome": "success",
        "request_id": request_id,
    }
    events = [new_id() for _ in changed]
    rows = [
        event | {"id": event_id, "action": action, "object_id": id, "changes": _to_json(changes)}
        for event_id, (action, id, changes) in zip(events, changed, strict=True)
    ]
    if rows:
        await session.execute(insert(AuditEvent), rows)
    return events


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


_WRITE_VERSIONS = text("""
INSERT INTO object_versions (object_id, version, kind, content)
SELECT t.id, coalesce((SELECT max(version) FROM object_versions WHERE object_id = t.id), 0) + 1, :kind,
    CAST(t.content AS jsonb)
FROM unnest(CAST(:ids AS uuid[]), CAST(:contents AS text[])) AS t (id, content)
""")


async def write_versions(session: AsyncSession, kind: str, contents: Mapping[UUID, dict[str, Any]]) -> None:
    """Write the next version of many objects whose current ones are closed, in one statement."""
    if contents:
        written = [json.dumps(content, default=str) for content in contents.values()]
        await session.execute(_WRITE_VERSIONS, {"kind": kind, "ids": list(contents), "contents": written})


def _to_json(content: dict[str, Any]) -> Any:
    """Convert the content to JSON-ready values."""
    return json.loads(json.dumps(content, default=str))
