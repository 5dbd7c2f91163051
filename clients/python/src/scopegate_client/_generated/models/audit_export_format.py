from typing import Literal, cast

AuditExportFormat = Literal["csv", "leaves", "ndjson", "ocsf"]


def check_audit_export_format(value: str) -> AuditExportFormat:
    """A newer service may know more values than these: they come through as they are."""
    return cast(AuditExportFormat, value)
