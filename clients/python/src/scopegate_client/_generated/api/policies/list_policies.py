"""GET /api/v1/policies"""

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
from ...types import UNSET, Unset
from typing import cast
from ...models.policy_status import PolicyStatus
from ...models.policy_mode import PolicyMode
from ...types import UNSET, Unset
from typing import cast
from ...types import UNSET, Unset
from typing import cast
from typing import cast
from ...types import UNSET, Unset
from typing import Literal, cast
from ...types import UNSET, Unset
from typing import cast
from ...models.policy_order import PolicyOrder
from typing import cast
from ...models.policy_page import PolicyPage



def call(
    *,
    limit: int | None = None,
    cursor: str | None = None,
    created_after: datetime.datetime | None = None,
    created_before: datetime.datetime | None = None,
    name: str | Sequence[str] | None = None,
    status: PolicyStatus | Sequence[PolicyStatus] | None = None,
    mode: PolicyMode | Sequence[PolicyMode] | None = None,
    q: str | None = None,
    include: Literal['ended'] | None = None,
    sort: PolicyOrder | None = None,

) -> Call[PolicyPage]:
    """The request."""
    return Call(
        operation="list_policies",
        method="GET",
        path="/api/v1/policies",
        query={
            "limit": limit,
            "cursor": cursor,
            "created_after": created_after,
            "created_before": created_before,
            "name": name,
            "status": status,
            "mode": mode,
            "q": q,
            "include": include,
            "sort": sort,
        },
        read=PolicyPage.from_dict,
    )
