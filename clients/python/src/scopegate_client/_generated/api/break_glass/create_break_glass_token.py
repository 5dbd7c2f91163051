"""POST /api/v1/break-glass"""

from __future__ import annotations

from ...._call import (
    Call,
    JsonObject,
    sent_body,
)
from ...models.break_glass_token import BreakGlassToken


def call(
    fields: JsonObject,
) -> Call[BreakGlassToken]:
    """The request."""
    return Call(
        operation="create_break_glass_token",
        method="POST",
        path="/api/v1/break-glass",
        json=sent_body(fields),
        signed=False,
        read=BreakGlassToken.from_dict,
    )
