from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self, cast

from attrs import define
from attrs import field as attrs_field

from ...secret import Secret, optional_secret
from ..types import UNSET, Unset


@define(kw_only=True)
class CreateAccessTokenBody:
    """CreateAccessTokenBody."""

    grant_type: Literal["client_credentials"] = "client_credentials"

    client_id: str | Unset = UNSET
    """Here or in HTTP Basic, not both."""

    client_secret: Secret | Unset = attrs_field(default=UNSET, converter=optional_secret)

    additional_properties: dict[str, Any] = attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        grant_type = self.grant_type

        client_id = self.client_id

        client_secret: Secret | Unset = UNSET
        if not isinstance(self.client_secret, Unset):
            client_secret = self.client_secret

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "grant_type": grant_type,
            }
        )
        if client_id is not UNSET:
            field_dict["client_id"] = client_id
        if client_secret is not UNSET:
            field_dict["client_secret"] = client_secret
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        grant_type = cast(Literal["client_credentials"], d.pop("grant_type"))
        if grant_type != "client_credentials":
            raise ValueError(f"grant_type must match const 'client_credentials', got '{grant_type}'")

        client_id = d.pop("client_id", UNSET)

        _client_secret = d.pop("client_secret", UNSET)
        client_secret: Secret | Unset
        if isinstance(_client_secret, Unset):
            client_secret = UNSET
        else:
            client_secret = Secret(_client_secret)

        made = cls(
            grant_type=grant_type,
            client_id=client_id,
            client_secret=client_secret,
        )
        made.additional_properties = d
        return made
