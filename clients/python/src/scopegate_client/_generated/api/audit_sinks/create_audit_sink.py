"""POST /api/v1/audit-sinks"""

from __future__ import annotations

from ...._call import (
    Call,
    JsonObject,
    sent_body,
)
from ...models.audit_sink import AuditSink
from ...models.audit_sink_compression import AuditSinkCompression
from ...models.audit_sink_format import AuditSinkFormat
from ...models.audit_sink_start import AuditSinkStart
from ...models.bearer_audit_sink_credential import BearerAuditSinkCredential
from ...models.header_audit_sink_credential import HeaderAuditSinkCredential
from ...models.no_audit_sink_credential import NoAuditSinkCredential
from ...types import UNSET, Unset


def call(
    *,
    name: str,
    url: str,
    description: str | None | Unset = UNSET,
    format: AuditSinkFormat | Unset = UNSET,
    compression: AuditSinkCompression | Unset = UNSET,
    credential: BearerAuditSinkCredential
    | HeaderAuditSinkCredential
    | NoAuditSinkCredential
    | JsonObject
    | Unset = UNSET,
    start: AuditSinkStart | Unset = UNSET,
    idempotency_key: str | None = None,
) -> Call[AuditSink]:
    """The request."""
    return Call(
        operation="create_audit_sink",
        method="POST",
        path="/api/v1/audit-sinks",
        takes_key=True,
        idempotency_key=idempotency_key,
        json=sent_body(
            {
                "name": name,
                "url": url,
                "description": description,
                "format": format,
                "compression": compression,
                "credential": credential,
                "start": start,
            }
        ),
        read=AuditSink.from_dict,
    )
