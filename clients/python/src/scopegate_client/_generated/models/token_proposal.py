from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self, cast

from attrs import define


@define(kw_only=True)
class TokenProposal:
    """Revoke the token: `POST /tokens/{id}/revoke`."""

    action: Literal["revoke"] = "revoke"

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        action = self.action

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "action": action,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        action = cast(Literal["revoke"], d.pop("action"))
        if action != "revoke":
            raise ValueError(f"action must match const 'revoke', got '{action}'")

        return cls(
            action=action,
        )
