"""GET /api/v1/policies/{policy_id}"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ...._call import Call, JsonObject, anything, entity_tag, nothing, path_of, sent_body, encode
from ...types import UNSET, Unset

from typing import cast
from ...types import UNSET, Unset
from typing import Literal, cast
from typing import cast
from ...models.policy import Policy



def call(
    policy_id: str,
    *,
    include: Literal['ended'] | None = None,

) -> Call[Policy]:
    """The request."""
    return Call(
        operation="get_policy",
        method="GET",
        path=path_of(
            "/api/v1/policies/{policy_id}",
            policy_id=policy_id,
        ),
        query={
            "include": include,
        },
        read=Policy.from_dict,
    )
