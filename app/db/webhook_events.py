"""Webhook messages: all event types, their contents, and the outbox.

A message holds only named ids and times: no names of people, no reasons, no arguments, no secrets. For more, follow its
link or call the API, both of which require a sign-in. It is written in the transaction of the change that it reports,
as one row per subscribed webhook. See ADR 13.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.lib import ids as kinds

TEST = "webhook.test"
"""The type of the message that ``POST /webhooks/{id}/test`` sends. It cannot be subscribed to."""


class WebhookEvent(StrEnum):
    """An event that a webhook can subscribe to: ``<object>.<what happened to it>``."""

    APPROVAL_REQUESTED = "approval.requested"
    APPROVAL_APPROVED = "approval.approved"
    APPROVAL_DENIED = "approval.denied"
    IDENTITY_CREATED = "identity.created"
    IDENTITY_UPDATED = "identity.updated"
    IDENTITY_SUSPENDED = "identity.suspended"
    IDENTITY_REINSTATED = "identity.reinstated"
    IDENTITY_OFFBOARDING_SCHEDULED = "identity.offboarding_scheduled"
    IDENTITY_OFFBOARDING_CANCELLED = "identity.offboarding_cancelled"
    IDENTITY_OFFBOARDED = "identity.offboarded"
    IDENTITY_ERASED = "identity.erased"
    ADMINISTRATOR_OFFBOARDED = "administrator.offboarded"
    INVITATION_CLAIMED = "invitation.claimed"
    INVITATION_CONFIRMED = "invitation.confirmed"
    TOKEN_ISSUED = "token.issued"
    TOKEN_UPDATED = "token.updated"
    TOKEN_ROTATED = "token.rotated"
    TOKEN_PICKED_UP = "token.picked_up"
    TOKEN_PICKUP_REOPENED = "token.pickup_reopened"
    TOKEN_EXPIRING = "token.expiring"
    TOKEN_REVOKED = "token.revoked"
    GRANT_CREATED = "grant.created"
    GRANT_UPDATED = "grant.updated"
    GRANT_EXPIRING = "grant.expiring"
    GRANT_ENDED = "grant.ended"


PREFIXES = {
    "approval_id": kinds.APPROVAL,
    "event_id": kinds.EVENT,
    "grant_id": kinds.GRANT,
    "group_id": kinds.GROUP,
    "identity_id": kinds.IDENTITY,
    "invitation_id": kinds.INVITATION,
    "parent_id": kinds.TOKEN,
    "pickup_id": kinds.PICKUP,
    "receipt_id": kinds.EVENT,
    "recipient_id": kinds.IDENTITY,
    "server_id": kinds.SERVER,
    "token_id": kinds.TOKEN,
    "webhook_id": kinds.WEBHOOK,
}
"""The id prefixes of the members of ``data``."""
_PAGES = {"approval": ("console/approvals", "approval_id")}
"""The console page for messages about an object of this kind, and the id that its path ends in."""


@dataclass(frozen=True, slots=True)
class Message:
    """A webhook message: ids and times by their names in ``data``. ``None`` values are left out."""

    type: str
    ids: Mapping[str, UUID | None]
    times: Mapping[str, datetime | None] = field(default_factory=dict)

    @property
    def data(self) -> str:
        """The ids and times as JSON, in the API's format."""
        shown = {name: kinds.format_id(PREFIXES[name], id) for name, id in self.ids.items() if id is not None}
        times = {name: _time(at) for name, at in self.times.items() if at is not None}
        return json.dumps(shown | times)


def message_url(type: str, data: Mapping[str, str], public_url: str) -> str | None:
    """The console page of a message, whose URL contains nothing but an id; ``None`` if there is none."""
    page = _PAGES.get(type.partition(".")[0])
    if page is None or page[1] not in data:
        return None
    return f"{public_url}/{page[0]}/{data[page[1]]}"


def _time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


# A UUIDv7 as from ``new_id``, for rows whose number the caller does not know.
NEW_ID = """
CAST(encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid())
    PLACING substring(int8send(CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint)) FROM 3)
    FROM 1 FOR 6), 52, 1), 53, 1), 'hex') AS uuid)
"""
INSERT_DELIVERIES = f"""
INSERT INTO webhook_deliveries (id, webhook_id, type, data)
SELECT {NEW_ID}, w.id, m.type, m.data::jsonb
FROM unnest($1::text[], $2::text[]) AS m (type, data)
JOIN webhooks w ON m.type = ANY (w.events) AND w.status = 'active' AND w.ended_at IS NULL
"""  # noqa: S608 - the one value is a constant of ours
"""For asyncpg, with ``delivery_arguments``. Takes no lock."""
_TELL = text(INSERT_DELIVERIES.replace("::", "\\:\\:").replace("$1", ":types").replace("$2", ":contents"))
_WANTED = text(
    "SELECT EXISTS (SELECT 1 FROM webhooks WHERE :type = ANY (events) AND status = 'active' AND ended_at IS NULL)"
)


def delivery_arguments(messages: Sequence[Message]) -> tuple[list[str], list[str]]:
    """The arguments of ``INSERT_DELIVERIES``."""
    return [message.type for message in messages], [message.data for message in messages]


async def has_subscribers(session: AsyncSession, type: WebhookEvent) -> bool:
    """Whether any webhook subscribes to this event. Check this before building many messages."""
    return bool(await session.scalar(_WANTED, {"type": type.value}))


async def enqueue(session: AsyncSession, *messages: Message) -> None:
    """Write messages to the outbox in this session's transaction."""
    if messages:
        types, contents = delivery_arguments(messages)
        await session.execute(_TELL, {"types": types, "contents": contents})
