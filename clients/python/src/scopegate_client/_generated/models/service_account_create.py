from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, Literal, Self, cast, TYPE_CHECKING

from attrs import define
from attrs import field as attrs_field

from ..types import UNSET, Unset

from ..models.role import check_role
from ..models.role import Role
from typing import cast








@define(kw_only=True)
class ServiceAccountCreate:
    """A new service account. It can do nothing until it has a credential."""


    name: str
    """What people call it."""

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
        field_dict.update({
            "name": name,
            "owner_id": owner_id,
            "role": role,
        })
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

