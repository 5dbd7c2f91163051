from typing import Literal, cast

AuditSinkStatus = Literal["active", "disabled"]


def check_audit_sink_status(value: str) -> AuditSinkStatus:
    """A newer service may know more values than these: they come through as they are."""
    return cast(AuditSinkStatus, value)
