from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from attrs import define


@define(kw_only=True)
class TokenRevoke:
    """The reason of a revocation."""

    reason: str
    """The reason, stored with the revoked tokens, not in the audit log."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        reason = self.reason

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "reason": reason,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        reason = d.pop("reason")

        return cls(
            reason=reason,
        )
