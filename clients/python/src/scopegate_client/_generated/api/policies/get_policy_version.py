"""GET /api/v1/policies/{policy_id}/versions/{version}"""

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
from ...models.policy_version import PolicyVersion



def call(
    policy_id: str,
    version: str,
    *,
    include: Literal['ended'] | None = None,

) -> Call[PolicyVersion]:
    """The request."""
    return Call(
        operation="get_policy_version",
        method="GET",
        path=path_of(
            "/api/v1/policies/{policy_id}/versions/{version}",
            policy_id=policy_id,
            version=version,
        ),
        query={
            "include": include,
        },
        read=PolicyVersion.from_dict,
    )
