from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self, cast

from attrs import define


@define(kw_only=True)
class GroupPrincipal:
    """A group, whose members hold the grant while they are in it."""

    type: Literal["group"] = "group"

    id: str
    """The id of a group."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        type_ = self.type

        id = self.id

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "type": type_,
                "id": id,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        type_ = cast(Literal["group"], d.pop("type"))
        if type_ != "group":
            raise ValueError(f"type must match const 'group', got '{type_}'")

        id = d.pop("id")

        return cls(
            type=type_,
            id=id,
        )
