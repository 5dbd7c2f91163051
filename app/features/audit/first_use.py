"""Whether a token has been used yet, for whoever gave it to somebody and waits."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.models.audit import AuditEvent

_CALL, _LIST = "tool.call", "tools.list"


@dataclass(frozen=True, slots=True)
class FirstUse:
    """How far it came: a call was allowed, or the latest was refused, or a client connected and has called nothing."""

    kind: Literal["called", "refused", "connected"]
    event_id: UUID
    time: datetime
    tool: str | None


async def first_use(session: AsyncSession, token_id: UUID) -> FirstUse | None:
    """The first allowed call of a token, or else what comes nearest to it; ``None`` before its first request."""
    of_token = select(AuditEvent).where(col(AuditEvent.token_id) == token_id)
    calls = of_token.where(col(AuditEvent.action) == _CALL)
    # In the order of their index.
    first, last = col(AuditEvent.xact).asc(), col(AuditEvent.xact).desc()
    for kind, query in (
        ("called", calls.where(col(AuditEvent.decision) == "allow").order_by(first)),
        ("refused", calls.order_by(last)),
        ("connected", of_token.where(col(AuditEvent.action) == _LIST).order_by(first)),
    ):
        event = await session.scalar(query.limit(1))
        if event is not None:
            return FirstUse(kind, event.id, event.time, event.tool)  # type: ignore[arg-type]
    return None
