from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from attrs import define

from ..models.scim_link_attribute import ScimLinkAttribute, check_scim_link_attribute
from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.scim_attribute_changes import ScimAttributeChanges


@define(kw_only=True)
class ScimSettingsUpdate:
    """Changes to the settings; the first time, all fields without a default."""

    service_account_id: str | Unset = UNSET
    """The service account that calls `/scim/v2`."""

    link_attribute: ScimLinkAttribute | Unset = UNSET
    """The SCIM attribute with the value of the provider's `link_claim`, so that a person who is
    provisioned and then signs in is one identity. Entra ID: `externalId`, mapped from `objectId`, with
    the link claim `oid`. `none`: provisioned people are not linked to sign-ins."""

    attributes: ScimAttributeChanges | Unset = UNSET
    """Attributes to set by name; null removes one."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        service_account_id = self.service_account_id

        link_attribute: str | Unset = UNSET
        if not isinstance(self.link_attribute, Unset):
            link_attribute = self.link_attribute

        attributes: dict[str, Any] | Unset = UNSET
        if not isinstance(self.attributes, Unset):
            attributes = self.attributes.to_dict()

        field_dict: dict[str, Any] = {}
        field_dict.update({})
        if service_account_id is not UNSET:
            field_dict["service_account_id"] = service_account_id
        if link_attribute is not UNSET:
            field_dict["link_attribute"] = link_attribute
        if attributes is not UNSET:
            field_dict["attributes"] = attributes
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.scim_attribute_changes import ScimAttributeChanges

        d = dict(src_dict)
        service_account_id = d.pop("service_account_id", UNSET)

        _link_attribute = d.pop("link_attribute", UNSET)
        link_attribute: ScimLinkAttribute | Unset
        if isinstance(_link_attribute, Unset):
            link_attribute = UNSET
        else:
            link_attribute = check_scim_link_attribute(_link_attribute)

        _attributes = d.pop("attributes", UNSET)
        attributes: ScimAttributeChanges | Unset
        if isinstance(_attributes, Unset):
            attributes = UNSET
        else:
            attributes = ScimAttributeChanges.from_dict(_attributes)

        return cls(
            service_account_id=service_account_id,
            link_attribute=link_attribute,
            attributes=attributes,
        )
