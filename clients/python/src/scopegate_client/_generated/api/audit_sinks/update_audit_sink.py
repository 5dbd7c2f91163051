"""PATCH /api/v1/audit-sinks/{sink_id}"""

from __future__ import annotations

from ...._call import (
    Call,
    JsonObject,
    entity_tag,
    path_of,
    sent_body,
)
from ...models.audit_sink import AuditSink
from ...models.audit_sink_compression import AuditSinkCompression
from ...models.audit_sink_format import AuditSinkFormat
from ...models.audit_sink_status import AuditSinkStatus
from ...models.bearer_audit_sink_credential import BearerAuditSinkCredential
from ...models.header_audit_sink_credential import HeaderAuditSinkCredential
from ...models.no_audit_sink_credential import NoAuditSinkCredential
from ...types import UNSET, Unset


def call(
    sink_id: str,
    *,
    name: str | Unset = UNSET,
    description: str | None | Unset = UNSET,
    url: str | Unset = UNSET,
    format: AuditSinkFormat | Unset = UNSET,
    compression: AuditSinkCompression | Unset = UNSET,
    credential: BearerAuditSinkCredential
    | HeaderAuditSinkCredential
    | NoAuditSinkCredential
    | JsonObject
    | Unset = UNSET,
    status: AuditSinkStatus | Unset = UNSET,
    if_match: int | str | None = None,
) -> Call[AuditSink]:
    """The request."""
    return Call(
        operation="update_audit_sink",
        method="PATCH",
        path=path_of(
            "/api/v1/audit-sinks/{sink_id}",
            sink_id=sink_id,
        ),
        headers={
            "If-Match": entity_tag(if_match),
        },
        json=sent_body(
            {
                "name": name,
                "description": description,
                "url": url,
                "format": format,
                "compression": compression,
                "credential": credential,
                "status": status,
            }
        ),
        read=AuditSink.from_dict,
    )
