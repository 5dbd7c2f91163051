from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, cast

from attrs import define

from ..types import UNSET, Unset


@define(kw_only=True)
class GroupUpdate:
    """The fields of a group that can change."""

    name: str | Unset = UNSET
    """Unique among groups that have not ended, ignoring case."""

    description: None | str | Unset = UNSET
    """Its purpose."""

    external_id: None | str | Unset = UNSET
    """Its id in the system that it comes from."""

    owner_group_id: None | str | Unset = UNSET
    """The id of a group."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        name = self.name

        description: None | str | Unset
        if isinstance(self.description, Unset):
            description = UNSET
        else:
            description = self.description

        external_id: None | str | Unset
        if isinstance(self.external_id, Unset):
            external_id = UNSET
        else:
            external_id = self.external_id

        owner_group_id: None | str | Unset
        if isinstance(self.owner_group_id, Unset):
            owner_group_id = UNSET
        else:
            owner_group_id = self.owner_group_id

        field_dict: dict[str, Any] = {}
        field_dict.update({})
        if name is not UNSET:
            field_dict["name"] = name
        if description is not UNSET:
            field_dict["description"] = description
        if external_id is not UNSET:
            field_dict["external_id"] = external_id
        if owner_group_id is not UNSET:
            field_dict["owner_group_id"] = owner_group_id
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        name = d.pop("name", UNSET)

        def _parse_description(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        description = _parse_description(d.pop("description", UNSET))

        def _parse_external_id(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        external_id = _parse_external_id(d.pop("external_id", UNSET))

        def _parse_owner_group_id(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        owner_group_id = _parse_owner_group_id(d.pop("owner_group_id", UNSET))

        return cls(
            name=name,
            description=description,
            external_id=external_id,
            owner_group_id=owner_group_id,
        )
