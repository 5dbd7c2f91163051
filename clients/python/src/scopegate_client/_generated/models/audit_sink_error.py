from typing import Literal, cast

AuditSinkError = Literal[
    "busy",
    "closed",
    "connect",
    "decryption_failed",
    "forbidden_url",
    "internal",
    "protocol",
    "redirect",
    "resolve",
    "status",
    "timeout",
    "tls",
    "too_large",
]


def check_audit_sink_error(value: str) -> AuditSinkError:
    """A newer service may know more values than these: they come through as they are."""
    return cast(AuditSinkError, value)
