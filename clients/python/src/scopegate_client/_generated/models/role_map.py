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








class RoleMap(dict[str, Role]):
    """Which value of the role claim gives which role."""


    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return dict(self)

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""

        made = cls()
        for name, data in src_dict.items():
            additional_property = check_role(data)



            made[name] = additional_property
        return made
