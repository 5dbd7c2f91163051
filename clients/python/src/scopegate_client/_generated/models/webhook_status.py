from typing import Literal, cast

WebhookStatus = Literal["active", "disabled"]


def check_webhook_status(value: str) -> WebhookStatus:
    """A newer service may know more values than these: they come through as they are."""
    return cast(WebhookStatus, value)
