from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, cast

from attrs import define

from ..models.audit_decision import AuditDecision, check_audit_decision


@define(kw_only=True)
class SimulatedDecision:
    """The decision of one of the two sets of policies."""

    decision: AuditDecision
    """The decision about a call before it ran."""

    reason_code: str
    """Why."""

    policy_ids: list[str]
    """The existing policies that decided."""

    changes: list[int]
    """The `changes` that decided, by index from 0."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        decision: str = self.decision

        reason_code = self.reason_code

        policy_ids = self.policy_ids

        changes = self.changes

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "decision": decision,
                "reason_code": reason_code,
                "policy_ids": policy_ids,
                "changes": changes,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        decision = check_audit_decision(d.pop("decision"))

        reason_code = d.pop("reason_code")

        policy_ids = cast(list[str], d.pop("policy_ids"))

        changes = cast(list[int], d.pop("changes"))

        return cls(
            decision=decision,
            reason_code=reason_code,
            policy_ids=policy_ids,
            changes=changes,
        )
