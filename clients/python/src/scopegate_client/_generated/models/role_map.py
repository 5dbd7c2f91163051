from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from ..models.role import Role, check_role


class RoleMap(dict[str, Role]):
    """The role for each value of the role claim."""

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
