from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from attrs import define


@define(kw_only=True)
class ToolApprove:
    """Approve a definition: only the one with this digest, and no later one."""

    definition_digest: str
    """SHA-256 over name, title, description, schemas and annotations, in hexadecimal."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        definition_digest = self.definition_digest

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "definition_digest": definition_digest,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        definition_digest = d.pop("definition_digest")

        return cls(
            definition_digest=definition_digest,
        )
