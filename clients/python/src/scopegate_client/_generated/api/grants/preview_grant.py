"""POST /api/v1/grants/preview"""

from __future__ import annotations

from ...._call import (
    Call,
    JsonObject,
    sent_body,
)
from ...models.all_servers import AllServers
from ...models.all_tools import AllTools
from ...models.grant_preview import GrantPreview
from ...models.servers_by_ids import ServersByIds
from ...models.servers_by_labels import ServersByLabels
from ...models.tools_by_names import ToolsByNames
from ...models.tools_by_risk import ToolsByRisk


def call(
    *,
    servers: AllServers | ServersByIds | ServersByLabels | JsonObject,
    tools: AllTools | ToolsByNames | ToolsByRisk | JsonObject,
) -> Call[GrantPreview]:
    """The request."""
    return Call(
        operation="preview_grant",
        method="POST",
        path="/api/v1/grants/preview",
        json=sent_body(
            {
                "servers": servers,
                "tools": tools,
            }
        ),
        read=GrantPreview.from_dict,
    )
