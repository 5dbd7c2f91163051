from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self, cast

from attrs import define


@define(kw_only=True)
class EndProposal:
    """Nothing that the grant allows was used: end it."""

    action: Literal["end"] = "end"

    digest: str
    """Identifies the proposal when you apply it."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        action = self.action

        digest = self.digest

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "action": action,
                "digest": digest,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        action = cast(Literal["end"], d.pop("action"))
        if action != "end":
            raise ValueError(f"action must match const 'end', got '{action}'")

        digest = d.pop("digest")

        return cls(
            action=action,
            digest=digest,
        )
