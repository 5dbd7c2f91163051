"""POST /api/v1/grants"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ...._call import Call, JsonObject, anything, entity_tag, nothing, path_of, sent_body, encode
from ...types import UNSET, Unset
from typing import cast
from ...models.group_principal import GroupPrincipal
from ...models.identity_principal import IdentityPrincipal
from typing import cast
from ...models.servers_by_ids import ServersByIds
from ...models.servers_by_labels import ServersByLabels
from ...models.all_servers import AllServers
from typing import cast
from ...models.all_tools import AllTools
from ...models.tools_by_risk import ToolsByRisk
from ...models.tools_by_names import ToolsByNames
from ...types import UNSET, Unset
from typing import cast
from ...types import UNSET, Unset
from typing import cast
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
