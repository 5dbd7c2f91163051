from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, cast

from ..models.role import Role, check_role


class RoleMapChanges(dict[str, None | Role]):
    """Roles to set by value of the role claim; null removes a value."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return dict(self)

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""

        made = cls()
        for name, data in src_dict.items():

            def _parse_additional_property(data: object) -> None | Role:
                if data is None:
                    return data
                try:
                    if not isinstance(data, str):
                        raise TypeError()
                    additional_property_type_0 = check_role(data)

                    return additional_property_type_0
                except (TypeError, ValueError, AttributeError, KeyError):
                    pass
                return cast(None | Role, data)

            additional_property = _parse_additional_property(data)

            made[name] = additional_property
        return made
