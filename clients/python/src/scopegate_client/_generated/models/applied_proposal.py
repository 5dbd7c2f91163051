from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from attrs import define


@define(kw_only=True)
class AppliedProposal:
    """A proposal from the report, to apply."""

    grant_id: str
    """The id of a grant."""

    proposal_digest: str
    """The `digest` of the proposal, which covers the revision of the grant."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        grant_id = self.grant_id

        proposal_digest = self.proposal_digest

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "grant_id": grant_id,
                "proposal_digest": proposal_digest,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        grant_id = d.pop("grant_id")

        proposal_digest = d.pop("proposal_digest")

        return cls(
            grant_id=grant_id,
            proposal_digest=proposal_digest,
        )
