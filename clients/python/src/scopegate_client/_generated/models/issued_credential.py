from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from attrs import define
from attrs import field as attrs_field

from ...secret import Secret
from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.service_account_credential import ServiceAccountCredential


@define(kw_only=True)
class IssuedCredential:
    """A new credential, with its secret, which is shown only once."""

    client_id: str
    """The service account's id."""

    client_secret: Secret = attrs_field(converter=Secret)

    credential: ServiceAccountCredential
    """A client secret's id and times; the secret itself is never shown again."""

    secret_available: bool | Unset = True
    """False when a repeat of the request gets this answer: the secret is not kept."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        client_id = self.client_id

        client_secret = self.client_secret

        credential = self.credential.to_dict()

        secret_available = self.secret_available

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "client_id": client_id,
                "client_secret": client_secret,
                "credential": credential,
            }
        )
        if secret_available is not UNSET:
            field_dict["secret_available"] = secret_available
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.service_account_credential import ServiceAccountCredential

        d = dict(src_dict)
        client_id = d.pop("client_id")

        client_secret = Secret(d.pop("client_secret"))

        credential = ServiceAccountCredential.from_dict(d.pop("credential"))

        secret_available = d.pop("secret_available", UNSET)

        return cls(
            client_id=client_id,
            client_secret=client_secret,
            credential=credential,
            secret_available=secret_available,
        )
