from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from attrs import define
from attrs import field as attrs_field

from ...secret import Secret
from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.webhook import Webhook


@define(kw_only=True)
class IssuedWebhookSecret:
    """A webhook with its new signing secret, which is shown only once."""

    secret: Secret = attrs_field(converter=Secret)

    webhook: Webhook
    """A destination for messages of chosen types."""

    secret_available: bool | Unset = True
    """False when a repeat of the request gets this answer: the secret is not kept."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        secret = self.secret

        webhook = self.webhook.to_dict()

        secret_available = self.secret_available

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "secret": secret,
                "webhook": webhook,
            }
        )
        if secret_available is not UNSET:
            field_dict["secret_available"] = secret_available
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.webhook import Webhook

        d = dict(src_dict)
        secret = Secret(d.pop("secret"))

        webhook = Webhook.from_dict(d.pop("webhook"))

        secret_available = d.pop("secret_available", UNSET)

        return cls(
            secret=secret,
            webhook=webhook,
            secret_available=secret_available,
        )
