"""What webhooks can be told: the types of messages, all of them registered here, and what each one holds.

A message holds ids alone, by their names: no name of a person, no argument, no secret. Whoever wants to know more
follows its link and signs in.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from app.kit.ids import APPROVAL, EVENT, GROUP, IDENTITY, SERVER, TOKEN, WEBHOOK, format_id

TEST = "webhook.test"
"""The type of the message that ``POST /webhooks/{id}/test`` sends; nobody subscribes to it."""


class WebhookEvent(StrEnum):
    """What a webhook can be told of. ``<object>.<what happened to it>``."""

    APPROVAL_REQUESTED = "approval.requested"
    APPROVAL_APPROVED = "approval.approved"
    APPROVAL_DENIED = "approval.denied"
    IDENTITY_CREATED = "identity.created"
    IDENTITY_SUSPENDED = "identity.suspended"
    IDENTITY_REINSTATED = "identity.reinstated"
    IDENTITY_OFFBOARDING_SCHEDULED = "identity.offboarding_scheduled"
    IDENTITY_OFFBOARDED = "identity.offboarded"
    TOKEN_ISSUED = "token.issued"
    TOKEN_ROTATED = "token.rotated"
    TOKEN_EXPIRING = "token.expiring"
    TOKEN_REVOKED = "token.revoked"
    GRANT_CREATED = "grant.created"
    GRANT_EXPIRING = "grant.expiring"
    GRANT_ENDED = "grant.ended"


_PREFIXES = {
    "approval_id": APPROVAL,
    "event_id": EVENT,
    "group_id": GROUP,
    "identity_id": IDENTITY,
    "server_id": SERVER,
    "token_id": TOKEN,
    "webhook_id": WEBHOOK,
}
_PAGES = {"approval": ("approvals", "approval_id")}
"""Where people go from a message about an object of this kind."""


@dataclass(frozen=True, slots=True)
class Message:
    """Something that happened, told by ids: ``ids`` by the names that ``data`` has, without those that are ``None``."""

    type: str
    ids: Mapping[str, UUID | None]

    @property
    def data(self) -> str:
        """The ids as JSON, in the form that the API has them."""
        return json.dumps(
            {name: format_id(_PREFIXES[name], id) for name, id in self.ids.items() if id is not None}
        )


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


def link_of(type: str, data: Mapping[str, str], public_url: str) -> str | None:
    """The page to go to from a message, whose address holds an id and nothing else."""
    page = _PAGES.get(type.partition(".")[0])
    if page is None or page[1] not in data:
        return None
    return f"{public_url}/{page[0]}/{data[page[1]]}"
