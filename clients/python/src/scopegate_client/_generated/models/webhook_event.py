from typing import Literal, cast

WebhookEvent = Literal["approval.approved", "approval.denied", "approval.requested"]


def check_webhook_event(value: str) -> WebhookEvent:
    """A newer service may know more values than these: they come through as they are."""
    return cast(WebhookEvent, value)
