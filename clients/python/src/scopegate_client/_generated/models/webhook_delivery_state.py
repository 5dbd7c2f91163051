from typing import Literal, cast

WebhookDeliveryState = Literal["delivered", "failed", "pending"]


def check_webhook_delivery_state(value: str) -> WebhookDeliveryState:
    """A newer service may know more values than these: they come through as they are."""
    return cast(WebhookDeliveryState, value)
