from typing import Literal, cast

AuditSinkCredentialKind = Literal["bearer", "header", "none"]


def check_audit_sink_credential_kind(value: str) -> AuditSinkCredentialKind:
    """A newer service may know more values than these: they come through as they are."""
    return cast(AuditSinkCredentialKind, value)
