from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from attrs import define

if TYPE_CHECKING:
    from ..models.revoked_tokens import RevokedTokens


@define(kw_only=True)
class TokenBulkRevocation:
    """The revocation of many tokens."""

    changed: bool
    """Whether this request revoked any."""

    revoked: RevokedTokens
    """What was revoked, or would be under `dry_run`."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        changed = self.changed

        revoked = self.revoked.to_dict()

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "changed": changed,
                "revoked": revoked,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.revoked_tokens import RevokedTokens

        d = dict(src_dict)
        changed = d.pop("changed")

        revoked = RevokedTokens.from_dict(d.pop("revoked"))

        return cls(
            changed=changed,
            revoked=revoked,
        )
