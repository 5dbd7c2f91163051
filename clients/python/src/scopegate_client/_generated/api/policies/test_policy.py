"""POST /api/v1/policies/{policy_id}/test"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ...._call import Call, JsonObject, anything, entity_tag, nothing, path_of, sent_body, encode
from ...types import UNSET, Unset

from typing import cast
from ...models.policy_test_report import PolicyTestReport



def call(
    policy_id: str,

) -> Call[PolicyTestReport]:
    """The request."""
    return Call(
        operation="test_policy",
        method="POST",
        path=path_of(
            "/api/v1/policies/{policy_id}/test",
            policy_id=policy_id,
        ),
        read=PolicyTestReport.from_dict,
    )
