from typing import Literal, cast

AuditSinkFormat = Literal["json", "ndjson", "ocsf", "splunk_hec"]


def check_audit_sink_format(value: str) -> AuditSinkFormat:
    """A newer service may know more values than these: they come through as they are."""
    return cast(AuditSinkFormat, value)
