"""POST /api/v1/approvals"""

from __future__ import annotations

from ...._call import (
    Call,
    JsonObject,
    sent_body,
)
from ...models.approval import Approval


def call(
    fields: JsonObject,
    *,
    idempotency_key: str | None = None,
) -> Call[Approval]:
    """The request."""
    return Call(
        operation="create_approval",
        method="POST",
        path="/api/v1/approvals",
        takes_key=True,
        idempotency_key=idempotency_key,
        json=sent_body(fields),
        read=Approval.from_dict,
    )
