"""GET /api/v1/administrators"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ...._call import Call, JsonObject, anything, entity_tag, nothing, path_of, sent_body, encode
from ...types import UNSET, Unset

from ...types import UNSET, Unset
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
from ...models.administrator_status import AdministratorStatus
from ...models.role import Role
from ...types import UNSET, Unset
from typing import cast
from ...types import UNSET, Unset
from typing import cast
from ...types import UNSET, Unset
from typing import cast
from ...types import UNSET, Unset
from typing import cast
from ...models.administrator_order import AdministratorOrder
from typing import cast
from ...models.administrator_page import AdministratorPage



def call(
    *,
    limit: int | None = None,
    cursor: str | None = None,
    created_after: datetime.datetime | None = None,
    created_before: datetime.datetime | None = None,
    status: AdministratorStatus | Sequence[AdministratorStatus] | None = None,
    role: Role | Sequence[Role] | None = None,
    identity_id: str | Sequence[str] | None = None,
    q: str | None = None,
    sort: AdministratorOrder | None = None,

) -> Call[AdministratorPage]:
    """The request."""
    return Call(
        operation="list_administrators",
        method="GET",
        path="/api/v1/administrators",
        query={
            "limit": limit,
            "cursor": cursor,
            "created_after": created_after,
            "created_before": created_before,
            "status": status,
            "role": role,
            "identity_id": identity_id,
            "q": q,
            "sort": sort,
        },
        read=AdministratorPage.from_dict,
    )
