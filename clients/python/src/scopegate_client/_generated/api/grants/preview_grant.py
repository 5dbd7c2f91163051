"""POST /api/v1/grants/preview"""

from __future__ import annotations

from ...._call import (
    Call,
    JsonObject,
    sent_body,
)
from ...models.grant_preview import GrantPreview


def call(
    fields: JsonObject,
) -> Call[GrantPreview]:
    """The request."""
    return Call(
        operation="preview_grant",
        method="POST",
        path="/api/v1/grants/preview",
        json=sent_body(fields),
        read=GrantPreview.from_dict,
    )
