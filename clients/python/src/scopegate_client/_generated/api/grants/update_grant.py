"""PATCH /api/v1/grants/{grant_id}"""

from __future__ import annotations

import datetime

from ...._call import (
    Call,
    JsonObject,
    entity_tag,
    path_of,
    sent_body,
)
from ...models.all_servers import AllServers
from ...models.all_tools import AllTools
from ...models.grant import Grant
from ...models.servers_by_ids import ServersByIds
from ...models.servers_by_labels import ServersByLabels
from ...models.tools_by_names import ToolsByNames
from ...models.tools_by_risk import ToolsByRisk
from ...types import UNSET, Unset


def call(
    grant_id: str,
    *,
    servers: AllServers | ServersByIds | ServersByLabels | JsonObject | Unset = UNSET,
    tools: AllTools | ToolsByNames | ToolsByRisk | JsonObject | Unset = UNSET,
    resources: bool | Unset = UNSET,
    prompts: bool | Unset = UNSET,
    not_before: datetime.datetime | None | Unset = UNSET,
    expires_at: datetime.datetime | None | Unset = UNSET,
    reason: str | None | Unset = UNSET,
    if_match: int | str | None = None,
) -> Call[Grant]:
    """The request."""
    return Call(
        operation="update_grant",
        method="PATCH",
        path=path_of(
            "/api/v1/grants/{grant_id}",
            grant_id=grant_id,
        ),
        headers={
            "If-Match": entity_tag(if_match),
        },
        json=sent_body(
            {
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
