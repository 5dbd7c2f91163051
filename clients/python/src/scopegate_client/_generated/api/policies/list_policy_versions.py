"""GET /api/v1/policies/{policy_id}/versions"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ...._call import Call, JsonObject, anything, entity_tag, nothing, path_of, sent_body, encode
from ...types import UNSET, Unset

from typing import cast
from ...types import UNSET, Unset
from typing import Literal, cast
from ...types import UNSET, Unset
from ...types import UNSET, Unset
from typing import cast
from typing import cast
from ...models.policy_version_page import PolicyVersionPage



def call(
    policy_id: str,
    *,
    include: Literal['ended'] | None = None,
    limit: int | None = None,
    cursor: str | None = None,

) -> Call[PolicyVersionPage]:
    """The request."""
    return Call(
        operation="list_policy_versions",
        method="GET",
        path=path_of(
            "/api/v1/policies/{policy_id}/versions",
            policy_id=policy_id,
        ),
        query={
            "include": include,
            "limit": limit,
            "cursor": cursor,
        },
        read=PolicyVersionPage.from_dict,
    )
