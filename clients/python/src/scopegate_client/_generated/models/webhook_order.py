from typing import Literal, cast

WebhookOrder = Literal["-created_at", "-name", "created_at", "name"]


def check_webhook_order(value: str) -> WebhookOrder:
    """A newer service may know more values than these: they come through as they are."""
    return cast(WebhookOrder, value)
