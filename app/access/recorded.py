"""Calls as they were recorded, for asking again what decided them."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.domain.errors import Invalid, NotFound
from app.domain.objects import Address, Part
from app.domain.policy import CallerProgram
from app.models.audit import AuditClient, AuditEvent

_PARTS: Mapping[str, Part] = {
    "prompts.list": Part.PROMPTS,
    "prompt.get": Part.PROMPTS,
    "resources.list": Part.RESOURCES,
    "resource.read": Part.RESOURCES,
    "resource.subscribe": Part.RESOURCES,
    "resource.unsubscribe": Part.RESOURCES,
}
"""Which part of a server an action uses."""


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """An event of the gateway about one token, and the client that it came from."""

    event: AuditEvent
    token_id: UUID
    address: Address | None
    program: CallerProgram

    @property
    def part(self) -> Part | None:
        return _PARTS.get(self.event.action)

    @property
    def is_call(self) -> bool:
        return self.event.action == "tool.call"


def recorded(event: AuditEvent, client: AuditClient | None) -> RecordedCall | None:
    """The call that an event tells of; ``None`` for one that is about no token or decides nothing."""
    if event.token_id is None or event.decision is None:
        return None
    if client is None:
        return RecordedCall(event, event.token_id, None, CallerProgram())
    program = CallerProgram(client.name, client.version)
    return RecordedCall(event, event.token_id, address_of(client.ip), program)


async def find_recorded(session: AsyncSession, event_id: UUID) -> RecordedCall:
    """The call of an event. Raises ``NotFound``, and ``Invalid`` for an event that is none."""
    statement = (
        select(AuditEvent, AuditClient)
        .outerjoin(AuditClient, col(AuditClient.id) == col(AuditEvent.client_id))
        .where(col(AuditEvent.id) == event_id)
    )
    row: Any = (await session.execute(statement)).one_or_none()
    if row is None:
        raise NotFound("There is no such audit event.")
    found = recorded(row[0], row[1])
    if found is None:
        raise Invalid.field(
            "/event_id",
            "not_a_decision",
            "This event decides nothing about a token: name one of a call or list.",
        )
    return found


def address_of(text: str | None) -> Address | None:
    """The address that a client was recorded with; ``None`` where that is none, or cut."""
    try:
        return None if text is None else ip_address(text)
    except ValueError:
        return None
