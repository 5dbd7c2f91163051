from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from attrs import define
from attrs import field as attrs_field

from ...secret import Secret


@define(kw_only=True)
class SignalCredentialRequest:
    """The access token for the transmitter's own API. It is stored encrypted, and can be replaced but
    never read."""

    access_token: Secret = attrs_field(converter=Secret)

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        access_token = self.access_token

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "access_token": access_token,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        access_token = Secret(d.pop("access_token"))

        return cls(
            access_token=access_token,
        )
