from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from attrs import define

from ..models.identity_link_kind import IdentityLinkKind, check_identity_link_kind


@define(kw_only=True)
class IdentityLinkInput:
    """A provider's link to a person. With a link of the kind `oidc` the person can sign in."""

    provider_id: str
    """The id of an identity provider."""

    kind: IdentityLinkKind
    """The provider's protocol that uses the link."""

    value: str
    """Compared exactly and unique. Never an email address, which can be reassigned."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
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
        provider_id = d.pop("provider_id")

        kind = check_identity_link_kind(d.pop("kind"))

        value = d.pop("value")

        return cls(
            provider_id=provider_id,
            kind=kind,
            value=value,
        )
