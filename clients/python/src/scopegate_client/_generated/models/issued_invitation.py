from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from attrs import define
from attrs import field as attrs_field

from ...secret import Secret
from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.invitation import Invitation


@define(kw_only=True)
class IssuedInvitation:
    """A new invitation with its link, which is shown only once."""

    invitation: Invitation
    """An invitation of a person to sign in with one account of one provider, once."""

    url: Secret = attrs_field(converter=Secret)

    secret_available: bool | Unset = True
    """False when a repeat of the request gets this answer: the secret is not kept."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        invitation = self.invitation.to_dict()

        url = self.url

        secret_available = self.secret_available

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "invitation": invitation,
                "url": url,
            }
        )
        if secret_available is not UNSET:
            field_dict["secret_available"] = secret_available
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.invitation import Invitation

        d = dict(src_dict)
        invitation = Invitation.from_dict(d.pop("invitation"))

        url = Secret(d.pop("url"))

        secret_available = d.pop("secret_available", UNSET)

        return cls(
            invitation=invitation,
            url=url,
            secret_available=secret_available,
        )
