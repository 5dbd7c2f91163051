from typing import Literal, cast

AuditSinkCompression = Literal["gzip", "none"]


def check_audit_sink_compression(value: str) -> AuditSinkCompression:
    """A newer service may know more values than these: they come through as they are."""
    return cast(AuditSinkCompression, value)
