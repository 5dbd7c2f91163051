from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from attrs import define

from ..models.applied_outcome import AppliedOutcome, check_applied_outcome

if TYPE_CHECKING:
    from ..models.grant import Grant


@define(kw_only=True)
class Applied:
    """The outcome for one proposal."""

    grant_id: str
    """The id of a grant."""

    outcome: AppliedOutcome
    """The outcome for a grant. `changed`: the proposal differs from the sent one, so nothing was done:
    read the report again. `not_found`: there is no such grant, or it has ended."""

    grant: Grant | None
    """The grant after it was narrowed."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        from ..models.grant import Grant

        grant_id = self.grant_id

        outcome: str = self.outcome

        grant: dict[str, Any] | None
        if isinstance(self.grant, Grant):
            grant = self.grant.to_dict()
        else:
            grant = self.grant

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "grant_id": grant_id,
                "outcome": outcome,
                "grant": grant,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.grant import Grant

        d = dict(src_dict)
        grant_id = d.pop("grant_id")

        outcome = check_applied_outcome(d.pop("outcome"))

        def _parse_grant(data: object) -> Grant | None:
            if data is None:
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                grant_type_0 = Grant.from_dict(data)

                return grant_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(Grant | None, data)

        grant = _parse_grant(d.pop("grant"))

        return cls(
            grant_id=grant_id,
            outcome=outcome,
            grant=grant,
        )
