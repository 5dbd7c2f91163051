"""POST /api/v1/access/explain"""

from __future__ import annotations

from ...._call import (
    Call,
    JsonObject,
    sent_body,
)
from ...models.access_explanation import AccessExplanation


def call(
    fields: JsonObject,
) -> Call[AccessExplanation]:
    """The request."""
    return Call(
        operation="explain_access",
        method="POST",
        path="/api/v1/access/explain",
        json=sent_body(fields),
        read=AccessExplanation.from_dict,
    )
