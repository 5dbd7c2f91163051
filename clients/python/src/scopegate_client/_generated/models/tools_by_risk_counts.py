from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self


class ToolsByRiskCounts(dict[str, int]):
    """Number of tools by risk."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return dict(self)

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        return cls(src_dict)
