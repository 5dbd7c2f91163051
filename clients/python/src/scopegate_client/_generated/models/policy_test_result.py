from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, cast

from attrs import define

from ..models.audit_decision import AuditDecision, check_audit_decision


@define(kw_only=True)
class PolicyTestResult:
    """The result of one test."""

    name: str
    """What it verifies."""

    passed: bool
    """Whether the decision is the expected one."""

    expected: AuditDecision
    """The decision about a call before it ran."""

    decision: AuditDecision
    """The decision about a call before it ran."""

    reason_code: str
    """The reason code, as in audit events."""

    policy_ids: list[str]
    """The policies that decided."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        name = self.name

        passed = self.passed

        expected: str = self.expected

        decision: str = self.decision

        reason_code = self.reason_code

        policy_ids = self.policy_ids

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "name": name,
                "passed": passed,
                "expected": expected,
                "decision": decision,
                "reason_code": reason_code,
                "policy_ids": policy_ids,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        name = d.pop("name")

        passed = d.pop("passed")

        expected = check_audit_decision(d.pop("expected"))

        decision = check_audit_decision(d.pop("decision"))

        reason_code = d.pop("reason_code")

        policy_ids = cast(list[str], d.pop("policy_ids"))

        return cls(
            name=name,
            passed=passed,
            expected=expected,
            decision=decision,
            reason_code=reason_code,
            policy_ids=policy_ids,
        )
