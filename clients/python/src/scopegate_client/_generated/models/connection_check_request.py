from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, cast

from attrs import define
from attrs import field as attrs_field

from ...secret import Secret, optional_secret
from ..types import UNSET, Unset


@define(kw_only=True)
class ConnectionCheckRequest:
    """The subject of the check."""

    secret: Secret | Unset = attrs_field(default=UNSET, converter=optional_secret)

    server_ids: list[str] | Unset = UNSET
    """The servers to ask; by default the first 8 in reach by slug."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        secret: Secret | Unset = UNSET
        if not isinstance(self.secret, Unset):
            secret = self.secret

        server_ids: list[str] | Unset = UNSET
        if not isinstance(self.server_ids, Unset):
            server_ids = self.server_ids

        field_dict: dict[str, Any] = {}
        field_dict.update({})
        if secret is not UNSET:
            field_dict["secret"] = secret
        if server_ids is not UNSET:
            field_dict["server_ids"] = server_ids
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        _secret = d.pop("secret", UNSET)
        secret: Secret | Unset
        if isinstance(_secret, Unset):
            secret = UNSET
        else:
            secret = Secret(_secret)

        server_ids = cast(list[str], d.pop("server_ids", UNSET))

        return cls(
            secret=secret,
            server_ids=server_ids,
        )
