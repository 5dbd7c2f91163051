"""What webhooks can be told: the types of messages, all of them registered here, and what each one holds.

A message holds ids alone, by their names, and times: no name of a person, no reason, no argument, no secret. Whoever
wants to know more follows its link or asks the API, and signs in.
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
"""The type of the message that ``POST /webhooks/{id}/test`` sends; nobody subscribes to it."""


class WebhookEvent(StrEnum):
    """What a webhook can be told of. ``<object>.<what happened to it>``."""

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
"""What the ids in ``data`` are of, by their names."""
_PAGES = {"approval": ("console/approvals", "approval_id")}
"""Where people go from a message about an object of this kind."""


@dataclass(frozen=True, slots=True)
class Message:
    """Something that happened, told by ids and times by the names that ``data`` has, without those that are
    ``None``."""

    type: str
    ids: Mapping[str, UUID | None]
    times: Mapping[str, datetime | None] = field(default_factory=dict)

    @property
    def data(self) -> str:
        """The ids and times as JSON, in the form that the API has them."""
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
    """That an approval was asked for or decided: by whom it was asked, what for, and of which group."""
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
    """What happened to an identity: ``event_id`` is the audit event, which says who did it."""
    ids = {"identity_id": identity_id, "event_id": event_id, "receipt_id": receipt_id}
    return Message(type.value, ids, {"effective_at": effective_at})


def administrator_message(identity_id: UUID, receipt_id: UUID) -> Message:
    """That a directory offboarded an identity with the role owner or admin, which no administrator decided."""
    ids = {"identity_id": identity_id, "event_id": receipt_id, "receipt_id": receipt_id}
    return Message(WebhookEvent.ADMINISTRATOR_OFFBOARDED.value, ids)


def invitation_message(type: WebhookEvent, invitation_id: UUID, identity_id: UUID, event_id: UUID) -> Message:
    """That an account has signed in by an invitation, or was linked to the identity."""
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
    """What happened to a token of this identity, or is about to: that has no event."""
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
    """What happened to a link for a secret of this identity's token, by the person that the link is for."""
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
    """What happened to a grant of this identity or group, or is about to: that has no event."""
    ids = {"grant_id": grant_id, "identity_id": identity_id, "group_id": group_id, "event_id": event_id}
    return Message(type.value, ids, {"expires_at": expires_at})


def link_of(type: str, data: Mapping[str, str], public_url: str) -> str | None:
    """The page to go to from a message, whose address holds an id and nothing else."""
    page = _PAGES.get(type.partition(".")[0])
    if page is None or page[1] not in data:
        return None
    return f"{public_url}/{page[0]}/{data[page[1]]}"


def _time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
