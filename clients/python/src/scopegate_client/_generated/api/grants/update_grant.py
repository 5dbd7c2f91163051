"""PATCH /api/v1/grants/{grant_id}"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ...._call import Call, JsonObject, anything, entity_tag, nothing, path_of, sent_body, encode
from ...types import UNSET, Unset
from ...types import UNSET, Unset
from typing import cast
from ...models.servers_by_ids import ServersByIds
from ...models.servers_by_labels import ServersByLabels
from ...models.all_servers import AllServers
from ...types import UNSET, Unset
from typing import cast
from ...models.all_tools import AllTools
from ...models.tools_by_risk import ToolsByRisk
from ...models.tools_by_names import ToolsByNames
from ...types import UNSET, Unset
from ...types import UNSET, Unset
from ...types import UNSET, Unset
from typing import cast
import datetime
from ...types import UNSET, Unset
from typing import cast
import datetime
from ...types import UNSET, Unset
from typing import cast

from typing import cast
from ...models.grant import Grant



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
