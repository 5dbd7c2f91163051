from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self


class AuditChanges(dict[str, Any]):
    """What changed: field by field for objects, in numbers and ids for larger changes."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return dict(self)

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        return cls(src_dict)
