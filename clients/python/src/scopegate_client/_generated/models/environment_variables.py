from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from ...secret import Secret


class EnvironmentVariables(dict[str, Secret]):
    """Values by the names of `env_names`. They are stored encrypted and never shown."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return dict(self)

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""

        made = cls()
        for name, data in src_dict.items():
            additional_property = Secret(data)

            made[name] = additional_property
        return made
