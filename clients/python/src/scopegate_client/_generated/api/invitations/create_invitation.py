"""POST /api/v1/invitations"""

from __future__ import annotations

from ...._call import (
    Call,
    JsonObject,
    sent_body,
)
from ...models.issued_invitation import IssuedInvitation


def call(
    fields: JsonObject,
    *,
    idempotency_key: str | None = None,
) -> Call[IssuedInvitation]:
    """The request."""
    return Call(
        operation="create_invitation",
        method="POST",
        path="/api/v1/invitations",
        takes_key=True,
        idempotency_key=idempotency_key,
        json=sent_body(fields),
        read=IssuedInvitation.from_dict,
    )
