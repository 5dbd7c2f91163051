"""POST /api/v1/break-glass"""

from __future__ import annotations

from ...._call import (
    Call,
    sent_body,
)
from ...models.break_glass_token import BreakGlassToken
from ...models.secret import Secret


def call(
    *,
    password: Secret | str,
    reason: str,
) -> Call[BreakGlassToken]:
    """The request."""
    return Call(
        operation="create_break_glass_token",
        method="POST",
        path="/api/v1/break-glass",
        json=sent_body(
            {
                "password": password,
                "reason": reason,
            }
        ),
        signed=False,
        read=BreakGlassToken.from_dict,
    )
