from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from attrs import define

from ..models.audit_decision import AuditDecision, check_audit_decision

if TYPE_CHECKING:
    from ..models.policy_test_request import PolicyTestRequest


@define(kw_only=True)
class PolicyTest:
    """A request, and the expected decision of all published policies and this one."""

    name: str
    """What it verifies."""

    request: PolicyTestRequest
    """A request as policies see it. Fields of an existing server or tool default to its own."""

    expect: AuditDecision
    """The decision about a call before it ran."""

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
