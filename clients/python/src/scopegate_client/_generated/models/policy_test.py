from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from attrs import define

from ..models.audit_decision import AuditDecision, check_audit_decision

if TYPE_CHECKING:
    from ..models.policy_test_request import PolicyTestRequest


@define(kw_only=True)
class PolicyTest:
    """A request, and what is to be decided about it by everything that is published, and this policy."""

    name: str
    """What it shows."""

    request: PolicyTestRequest
    """One request, as policies see it. Of a server or tool that exists, what is not said here is as it is."""

    expect: AuditDecision
    """What was decided about a call before it ran."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        name = self.name

        request = self.request.to_dict()

        expect: str = self.expect

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "name": name,
                "request": request,
                "expect": expect,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.policy_test_request import PolicyTestRequest

        d = dict(src_dict)
        name = d.pop("name")

        request = PolicyTestRequest.from_dict(d.pop("request"))

        expect = check_audit_decision(d.pop("expect"))

        return cls(
            name=name,
            request=request,
            expect=expect,
        )
