from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from attrs import define

from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.identity_attributes import IdentityAttributes


@define(kw_only=True)
class PolicyTestOwner:
    """The owner of an agent: an existing identity by its id, or a described one."""

    id: None | str | Unset = UNSET
    """An existing identity; then leave out all other fields."""

    groups: list[str] | Unset = UNSET
    """The groups that it is in."""

    attributes: IdentityAttributes | Unset = UNSET
    """Attributes of an identity that policies can read, by name."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        id: None | str | Unset
        if isinstance(self.id, Unset):
            id = UNSET
        else:
            id = self.id

        groups: list[str] | Unset = UNSET
        if not isinstance(self.groups, Unset):
            groups = self.groups

        attributes: dict[str, Any] | Unset = UNSET
        if not isinstance(self.attributes, Unset):
            attributes = self.attributes.to_dict()

        field_dict: dict[str, Any] = {}
        field_dict.update({})
        if id is not UNSET:
            field_dict["id"] = id
        if groups is not UNSET:
            field_dict["groups"] = groups
        if attributes is not UNSET:
            field_dict["attributes"] = attributes
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.identity_attributes import IdentityAttributes

        d = dict(src_dict)

        def _parse_id(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        id = _parse_id(d.pop("id", UNSET))

        groups = cast(list[str], d.pop("groups", UNSET))

        _attributes = d.pop("attributes", UNSET)
        attributes: IdentityAttributes | Unset
        if isinstance(_attributes, Unset):
            attributes = UNSET
        else:
            attributes = IdentityAttributes.from_dict(_attributes)

        return cls(
            id=id,
            groups=groups,
            attributes=attributes,
        )
