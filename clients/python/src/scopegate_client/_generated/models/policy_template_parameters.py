from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self


class PolicyTemplateParameters(dict[str, Any]):
    """Values by parameter name: see the `parameters` of the template."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return dict(self)

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        return cls(src_dict)
