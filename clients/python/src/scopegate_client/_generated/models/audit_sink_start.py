from typing import Literal, cast

AuditSinkStart = Literal["beginning", "now"]


def check_audit_sink_start(value: str) -> AuditSinkStart:
    """A newer service may know more values than these: they come through as they are."""
    return cast(AuditSinkStart, value)
