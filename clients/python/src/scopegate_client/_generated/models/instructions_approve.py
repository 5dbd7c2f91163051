from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from attrs import define


@define(kw_only=True)
class InstructionsApprove:
    """Approve instructions: only the text with this digest, and no later one."""

    digest: str
    """SHA-256 of the text, in hexadecimal."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        digest = self.digest

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "digest": digest,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        digest = d.pop("digest")

        return cls(
            digest=digest,
        )
