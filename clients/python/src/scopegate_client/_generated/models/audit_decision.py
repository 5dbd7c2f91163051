from typing import Literal, cast

AuditDecision = Literal["allow", "deny", "require_approval"]


def check_audit_decision(value: str) -> AuditDecision:
    """A newer service may know more values than these: they come through as they are."""
    return cast(AuditDecision, value)
