from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self


class ScimAttributes(dict[str, Any]):
    """Attributes of identities, which policies read, and the SCIM attribute path that each has its value
    from."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return dict(self)

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        return cls(src_dict)
