from typing import Literal, cast

WebhookEvent = Literal[
    "administrator.offboarded",
    "approval.approved",
    "approval.denied",
    "approval.requested",
    "grant.created",
    "grant.ended",
    "grant.expiring",
    "grant.updated",
    "identity.created",
    "identity.erased",
    "identity.offboarded",
    "identity.offboarding_cancelled",
    "identity.offboarding_scheduled",
    "identity.reinstated",
    "identity.suspended",
    "identity.updated",
    "invitation.claimed",
    "invitation.confirmed",
    "token.expiring",
    "token.issued",
    "token.picked_up",
    "token.pickup_reopened",
    "token.revoked",
    "token.rotated",
    "token.updated",
]


def check_webhook_event(value: str) -> WebhookEvent:
    """A newer service may know more values than these: they come through as they are."""
    return cast(WebhookEvent, value)
