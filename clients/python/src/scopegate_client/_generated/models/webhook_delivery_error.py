from typing import Literal, cast

WebhookDeliveryError = Literal[
    "busy",
    "closed",
    "connect",
    "decryption_failed",
    "forbidden_url",
    "gone",
    "protocol",
    "redirect",
    "resolve",
    "status",
    "timeout",
    "tls",
]


def check_webhook_delivery_error(value: str) -> WebhookDeliveryError:
    """A newer service may know more values than these: they come through as they are."""
    return cast(WebhookDeliveryError, value)
