from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from attrs import define

from ..models.identity_kind import IdentityKind, check_identity_kind
from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.identity_attributes import IdentityAttributes
    from ..models.identity_link_input import IdentityLinkInput


@define(kw_only=True)
class IdentityCreate:
    """A person, or an agent with its owner."""

    kind: IdentityKind
    """An `agent` has a person as its owner."""

    user_name: str
    """Unique among identities that are not offboarded, ignoring case. Stored in NFKC, without outer blanks
    and zero-width characters; bidirectional controls are refused."""

    display_name: None | str | Unset = UNSET
    """Its display name."""

    email: None | str | Unset = UNSET
    """Its email address."""

    owner_id: None | str | Unset = UNSET
    """The owner, an active person: required for an agent, none for a person."""

    external_id: None | str | Unset = UNSET
    """Its id in the system that it comes from, such as an HR system."""

    attributes: IdentityAttributes | Unset = UNSET
    """Attributes of an identity that policies can read, by name."""

    links: list[IdentityLinkInput] | Unset = UNSET
    """The provider links of the person."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        kind: str = self.kind

        user_name = self.user_name

        display_name: None | str | Unset
        if isinstance(self.display_name, Unset):
            display_name = UNSET
        else:
            display_name = self.display_name

        email: None | str | Unset
        if isinstance(self.email, Unset):
            email = UNSET
        else:
            email = self.email

        owner_id: None | str | Unset
        if isinstance(self.owner_id, Unset):
            owner_id = UNSET
        else:
            owner_id = self.owner_id

        external_id: None | str | Unset
        if isinstance(self.external_id, Unset):
            external_id = UNSET
        else:
            external_id = self.external_id

        attributes: dict[str, Any] | Unset = UNSET
        if not isinstance(self.attributes, Unset):
            attributes = self.attributes.to_dict()

        links: list[dict[str, Any]] | Unset = UNSET
        if not isinstance(self.links, Unset):
            links = []
            for links_item_data in self.links:
                links_item = links_item_data.to_dict()
                links.append(links_item)

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "kind": kind,
                "user_name": user_name,
            }
        )
        if display_name is not UNSET:
            field_dict["display_name"] = display_name
        if email is not UNSET:
            field_dict["email"] = email
        if owner_id is not UNSET:
            field_dict["owner_id"] = owner_id
        if external_id is not UNSET:
            field_dict["external_id"] = external_id
        if attributes is not UNSET:
            field_dict["attributes"] = attributes
        if links is not UNSET:
            field_dict["links"] = links
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.identity_attributes import IdentityAttributes
        from ..models.identity_link_input import IdentityLinkInput

        d = dict(src_dict)
        kind = check_identity_kind(d.pop("kind"))

        user_name = d.pop("user_name")

        def _parse_display_name(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        display_name = _parse_display_name(d.pop("display_name", UNSET))

        def _parse_email(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        email = _parse_email(d.pop("email", UNSET))

        def _parse_owner_id(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        owner_id = _parse_owner_id(d.pop("owner_id", UNSET))

        def _parse_external_id(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        external_id = _parse_external_id(d.pop("external_id", UNSET))

        _attributes = d.pop("attributes", UNSET)
        attributes: IdentityAttributes | Unset
        if isinstance(_attributes, Unset):
            attributes = UNSET
        else:
            attributes = IdentityAttributes.from_dict(_attributes)

        _links = d.pop("links", UNSET)
        links: list[IdentityLinkInput] | Unset = UNSET
        if _links is not UNSET:
            links = []
            for links_item_data in _links:
                links_item = IdentityLinkInput.from_dict(links_item_data)

                links.append(links_item)

        return cls(
            kind=kind,
            user_name=user_name,
            display_name=display_name,
            email=email,
            owner_id=owner_id,
            external_id=external_id,
            attributes=attributes,
            links=links,
        )
