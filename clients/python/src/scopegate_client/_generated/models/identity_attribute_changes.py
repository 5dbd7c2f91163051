from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, cast


class IdentityAttributeChanges(dict[str, None | str]):
    """Attributes to set by name; null removes an attribute."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return dict(self)

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""

        made = cls()
        for name, data in src_dict.items():

            def _parse_additional_property(data: object) -> None | str:
                if data is None:
                    return data
                return cast(None | str, data)

            additional_property = _parse_additional_property(data)

            made[name] = additional_property
        return made
