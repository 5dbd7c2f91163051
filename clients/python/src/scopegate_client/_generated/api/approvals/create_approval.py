"""POST /api/v1/approvals"""

from __future__ import annotations

import datetime
from typing import Literal

from ...._call import (
    Call,
    JsonObject,
    sent_body,
)
from ...models.all_tools import AllTools
from ...models.approval import Approval
from ...models.tools_by_names import ToolsByNames
from ...models.tools_by_risk import ToolsByRisk
from ...types import UNSET, Unset


def call(
    *,
    kind: Literal["access"],
    server: str,
    tools: AllTools | ToolsByNames | ToolsByRisk | JsonObject,
    expires_at: datetime.datetime,
    reason: str,
    identity_id: str | None | Unset = UNSET,
    idempotency_key: str | None = None,
) -> Call[Approval]:
    """The request."""
    return Call(
        operation="create_approval",
        method="POST",
        path="/api/v1/approvals",
        takes_key=True,
        idempotency_key=idempotency_key,
        json=sent_body(
            {
                "kind": kind,
                "server": server,
                "tools": tools,
                "expires_at": expires_at,
                "reason": reason,
                "identity_id": identity_id,
            }
        ),
        read=Approval.from_dict,
    )
