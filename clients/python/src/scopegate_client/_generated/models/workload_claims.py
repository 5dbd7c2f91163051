from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self


class WorkloadClaims(dict[str, str]):
    """Required claims with their exact text."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return dict(self)

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        return cls(src_dict)
