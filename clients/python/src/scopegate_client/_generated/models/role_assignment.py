from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self, cast

from attrs import define

from ..models.role import Role, check_role


@define(kw_only=True)
class RoleAssignment:
    """A role of an administrator, and its scope."""

    role: Role
    """What a caller may do at the API, strongest first."""

    within: Literal["all"] = "all"

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        role: str = self.role

        within = self.within

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "role": role,
                "within": within,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        role = check_role(d.pop("role"))

        within = cast(Literal["all"], d.pop("within"))
        if within != "all":
            raise ValueError(f"within must match const 'all', got '{within}'")

        return cls(
            role=role,
            within=within,
        )
