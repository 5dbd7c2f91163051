"""GET /api/v1/policies/{policy_id}/diff"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ...._call import Call, JsonObject, anything, entity_tag, nothing, path_of, sent_body, encode
from ...types import UNSET, Unset

from ...types import UNSET, Unset
from typing import cast
from ...types import UNSET, Unset
from typing import cast
from ...models.policy_diff import PolicyDiff



def call(
    policy_id: str,
    *,
    from_: str | None = None,
    to: str | None = None,

) -> Call[PolicyDiff]:
    """The request."""
    return Call(
        operation="diff_policy",
        method="GET",
        path=path_of(
            "/api/v1/policies/{policy_id}/diff",
            policy_id=policy_id,
        ),
        query={
            "from": from_,
            "to": to,
        },
        read=PolicyDiff.from_dict,
    )
