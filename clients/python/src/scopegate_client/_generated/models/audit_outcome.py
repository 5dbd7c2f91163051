from typing import Literal, cast

AuditOutcome = Literal["cancelled", "denied", "error", "in_flight", "not_forwarded", "success", "unknown"]


def check_audit_outcome(value: str) -> AuditOutcome:
    """A newer service may know more values than these: they come through as they are."""
    return cast(AuditOutcome, value)
