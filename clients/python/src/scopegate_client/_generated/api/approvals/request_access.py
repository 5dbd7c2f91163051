"""POST /api/v1/approvals"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ...._call import Call, JsonObject, anything, entity_tag, nothing, path_of, sent_body, encode
from ...types import UNSET, Unset
from typing import Literal, cast
from typing import cast
from ...models.all_tools import AllTools
from ...models.tools_by_risk import ToolsByRisk
from ...models.tools_by_names import ToolsByNames
from typing import cast
import datetime
from ...types import UNSET, Unset
from typing import cast

from typing import cast
from ...models.approval import Approval



def call(
    *,
    kind: Literal['access'],
    server: str,
    tools: AllTools | ToolsByNames | ToolsByRisk | JsonObject,
    expires_at: datetime.datetime,
    reason: str,
    identity_id: str | None | Unset = UNSET,
    idempotency_key: str | None = None,

) -> Call[Approval]:
    """The request."""
    return Call(
        operation="request_access",
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
