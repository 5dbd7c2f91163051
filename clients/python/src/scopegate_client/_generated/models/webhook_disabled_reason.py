from typing import Literal, cast

WebhookDisabledReason = Literal["gone", "manual"]


def check_webhook_disabled_reason(value: str) -> WebhookDisabledReason:
    """A newer service may know more values than these: they come through as they are."""
    return cast(WebhookDisabledReason, value)
