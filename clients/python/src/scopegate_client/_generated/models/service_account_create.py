from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from attrs import define

from ..models.role import Role, check_role


@define(kw_only=True)
class ServiceAccountCreate:
    """A new service account, which needs a credential to act."""

    name: str
    """Its display name."""

    owner_id: str
    """The id of an identity."""

    role: Role
    """What a caller may do at the API, strongest first."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        name = self.name

        owner_id = self.owner_id

        role: str = self.role

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "name": name,
                "owner_id": owner_id,
                "role": role,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        name = d.pop("name")

        owner_id = d.pop("owner_id")

        role = check_role(d.pop("role"))

        return cls(
            name=name,
            owner_id=owner_id,
            role=role,
        )
