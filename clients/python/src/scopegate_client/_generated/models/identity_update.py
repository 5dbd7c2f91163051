from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from attrs import define

from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.identity_attribute_changes import IdentityAttributeChanges
    from ..models.identity_link_input import IdentityLinkInput


@define(kw_only=True)
class IdentityUpdate:
    """The fields of an identity that can change; its kind cannot."""

    user_name: str | Unset = UNSET
    """Unique among identities that are not offboarded, ignoring case. Stored in NFKC, without outer blanks
    and zero-width characters; bidirectional controls are refused."""

    display_name: None | str | Unset = UNSET
    """Its display name."""

    email: None | str | Unset = UNSET
    """Its email address."""

    owner_id: str | Unset = UNSET
    """Transfers an agent to another active person."""

    external_id: None | str | Unset = UNSET
    """Its id in the system that it comes from, such as an HR system."""

    attributes: IdentityAttributeChanges | Unset = UNSET
    """Attributes to set by name; null removes an attribute."""

    links: list[IdentityLinkInput] | Unset = UNSET
    """The whole list; needs the permission `grants.write`."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
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
        field_dict.update({})
        if user_name is not UNSET:
            field_dict["user_name"] = user_name
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
        from ..models.identity_attribute_changes import IdentityAttributeChanges
        from ..models.identity_link_input import IdentityLinkInput

        d = dict(src_dict)
        user_name = d.pop("user_name", UNSET)

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

        owner_id = d.pop("owner_id", UNSET)

        def _parse_external_id(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        external_id = _parse_external_id(d.pop("external_id", UNSET))

        _attributes = d.pop("attributes", UNSET)
        attributes: IdentityAttributeChanges | Unset
        if isinstance(_attributes, Unset):
            attributes = UNSET
        else:
            attributes = IdentityAttributeChanges.from_dict(_attributes)

        _links = d.pop("links", UNSET)
        links: list[IdentityLinkInput] | Unset = UNSET
        if _links is not UNSET:
            links = []
            for links_item_data in _links:
                links_item = IdentityLinkInput.from_dict(links_item_data)

                links.append(links_item)

        return cls(
            user_name=user_name,
            display_name=display_name,
            email=email,
            owner_id=owner_id,
            external_id=external_id,
            attributes=attributes,
            links=links,
        )
