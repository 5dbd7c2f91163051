from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, cast

from attrs import define

from ..models.identity_link_kind import IdentityLinkKind, check_identity_link_kind


@define(kw_only=True)
class IdentityLink:
    """A provider's link to this identity."""

    provider_id: None | str
    """The provider; null for the configured one."""

    kind: IdentityLinkKind
    """The provider's protocol that uses the link."""

    value: str
    """The provider's value for the identity."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        provider_id: None | str
        provider_id = self.provider_id

        kind: str = self.kind

        value = self.value

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "provider_id": provider_id,
                "kind": kind,
                "value": value,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)

        def _parse_provider_id(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        provider_id = _parse_provider_id(d.pop("provider_id"))

        kind = check_identity_link_kind(d.pop("kind"))

        value = d.pop("value")

        return cls(
            provider_id=provider_id,
            kind=kind,
            value=value,
        )
