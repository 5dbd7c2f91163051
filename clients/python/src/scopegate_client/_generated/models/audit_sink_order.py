from typing import Literal, cast

AuditSinkOrder = Literal["-created_at", "-name", "created_at", "name"]


def check_audit_sink_order(value: str) -> AuditSinkOrder:
    """A newer service may know more values than these: they come through as they are."""
    return cast(AuditSinkOrder, value)
