"""Webhook messages: all event types and their contents.

A message holds only named ids and times: no names of people, no reasons, no arguments, no secrets. For more, follow its
link or call the API, both of which require a sign-in.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from uuid import UUID

from app.lib.ids import (
    APPROVAL,
    EVENT,
    GRANT,
    GROUP,
    IDENTITY,
    INVITATION,
    PICKUP,
    SERVER,
    TOKEN,
    WEBHOOK,
    format_id,
)

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
    "approval_id": APPROVAL,
    "event_id": EVENT,
    "grant_id": GRANT,
    "group_id": GROUP,
    "identity_id": IDENTITY,
    "invitation_id": INVITATION,
    "parent_id": TOKEN,
    "pickup_id": PICKUP,
    "receipt_id": EVENT,
    "recipient_id": IDENTITY,
    "server_id": SERVER,
    "token_id": TOKEN,
    "webhook_id": WEBHOOK,
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
        shown = {name: format_id(PREFIXES[name], id) for name, id in self.ids.items() if id is not None}
        times = {name: _time(at) for name, at in self.times.items() if at is not None}
        return json.dumps(shown | times)


def approval_message(
    type: WebhookEvent,
    approval_id: UUID,
    *,
    event_id: UUID | None,
    identity_id: UUID,
    token_id: UUID | None,
    server_id: UUID | None,
    group_id: UUID | None,
) -> Message:
    """The message that an approval was requested or decided, with its requester, subject and approver group."""
    ids = {
        "approval_id": approval_id,
        "event_id": event_id,
        "identity_id": identity_id,
        "token_id": token_id,
        "server_id": server_id,
        "group_id": group_id,
    }
    return Message(type.value, ids)


def identity_message(
    type: WebhookEvent,
    identity_id: UUID,
    event_id: UUID,
    *,
    receipt_id: UUID | None = None,
    effective_at: datetime | None = None,
) -> Message:
    """The message about a change of an identity. ``event_id`` is the audit event, which names the actor."""
    ids = {"identity_id": identity_id, "event_id": event_id, "receipt_id": receipt_id}
    return Message(type.value, ids, {"effective_at": effective_at})


def administrator_message(identity_id: UUID, receipt_id: UUID) -> Message:
    """The message that a directory, not an administrator, offboarded an identity with the role owner or admin."""
    ids = {"identity_id": identity_id, "event_id": receipt_id, "receipt_id": receipt_id}
    return Message(WebhookEvent.ADMINISTRATOR_OFFBOARDED.value, ids)


def invitation_message(type: WebhookEvent, invitation_id: UUID, identity_id: UUID, event_id: UUID) -> Message:
    """The message that an account signed in by an invitation, or was linked to the identity."""
    ids = {"invitation_id": invitation_id, "identity_id": identity_id, "event_id": event_id}
    return Message(type.value, ids)


def token_message(
    type: WebhookEvent,
    token_id: UUID,
    identity_id: UUID,
    event_id: UUID | None,
    *,
    parent_id: UUID | None = None,
    expires_at: datetime | None = None,
) -> Message:
    """The message about a change of a token. ``event_id`` is ``None`` for a token that is about to expire."""
    ids = {"token_id": token_id, "identity_id": identity_id, "parent_id": parent_id, "event_id": event_id}
    return Message(type.value, ids, {"expires_at": expires_at})


def pickup_message(
    type: WebhookEvent,
    pickup_id: UUID,
    event_id: UUID,
    *,
    token_id: UUID,
    identity_id: UUID,
    recipient_id: UUID,
) -> Message:
    """The message that the recipient used or reopened a pickup link."""
    ids = {
        "pickup_id": pickup_id,
        "token_id": token_id,
        "identity_id": identity_id,
        "recipient_id": recipient_id,
        "event_id": event_id,
    }
    return Message(type.value, ids)


def grant_message(
    type: WebhookEvent,
    grant_id: UUID,
    event_id: UUID | None,
    *,
    identity_id: UUID | None,
    group_id: UUID | None,
    expires_at: datetime | None = None,
) -> Message:
    """The message about a change of a grant. ``event_id`` is ``None`` for a grant that is about to expire."""
    ids = {"grant_id": grant_id, "identity_id": identity_id, "group_id": group_id, "event_id": event_id}
    return Message(type.value, ids, {"expires_at": expires_at})


def message_url(type: str, data: Mapping[str, str], public_url: str) -> str | None:
    """The console page of a message, whose URL contains nothing but an id; ``None`` if there is none."""
    page = _PAGES.get(type.partition(".")[0])
    if page is None or page[1] not in data:
        return None
    return f"{public_url}/{page[0]}/{data[page[1]]}"


def _time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
