"""POST /api/v1/grants"""

from __future__ import annotations

import datetime

from ...._call import (
    Call,
    JsonObject,
    sent_body,
)
from ...models.all_servers import AllServers
from ...models.all_tools import AllTools
from ...models.grant import Grant
from ...models.group_principal import GroupPrincipal
from ...models.identity_principal import IdentityPrincipal
from ...models.servers_by_ids import ServersByIds
from ...models.servers_by_labels import ServersByLabels
from ...models.tools_by_names import ToolsByNames
from ...models.tools_by_risk import ToolsByRisk
from ...types import UNSET, Unset


def call(
    *,
    principal: GroupPrincipal | IdentityPrincipal | JsonObject,
    servers: AllServers | ServersByIds | ServersByLabels | JsonObject,
    tools: AllTools | ToolsByNames | ToolsByRisk | JsonObject,
    resources: bool | None | Unset = UNSET,
    prompts: bool | None | Unset = UNSET,
    not_before: datetime.datetime | None | Unset = UNSET,
    expires_at: datetime.datetime | None | Unset = UNSET,
    reason: str | None | Unset = UNSET,
    idempotency_key: str | None = None,
) -> Call[Grant]:
    """The request."""
    return Call(
        operation="create_grant",
        method="POST",
        path="/api/v1/grants",
        takes_key=True,
        idempotency_key=idempotency_key,
        json=sent_body(
            {
                "principal": principal,
                "servers": servers,
                "tools": tools,
                "resources": resources,
                "prompts": prompts,
                "not_before": not_before,
                "expires_at": expires_at,
                "reason": reason,
            }
        ),
        read=Grant.from_dict,
    )
