from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from attrs import define

if TYPE_CHECKING:
    from ..models.token_bulk_revoke_filter import TokenBulkRevokeFilter


@define(kw_only=True)
class TokenBulkRevoke:
    """The tokens to revoke, and the reason."""

    filter: TokenBulkRevokeFilter
    """Conditions that a token must all meet. At least one is required; descendants are revoked too."""

    reason: str
    """The reason, stored with the revoked tokens, not in the audit log."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        filter_ = self.filter.to_dict()

        reason = self.reason

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "filter": filter_,
                "reason": reason,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.token_bulk_revoke_filter import TokenBulkRevokeFilter

        d = dict(src_dict)
        filter_ = TokenBulkRevokeFilter.from_dict(d.pop("filter"))

        reason = d.pop("reason")

        return cls(
            filter=filter_,
            reason=reason,
        )
