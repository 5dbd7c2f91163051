"""GET /api/v1/approvals/{approval_id}"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ...._call import Call, JsonObject, anything, entity_tag, nothing, path_of, sent_body, encode
from ...types import UNSET, Unset

from typing import cast
from ...models.approval import Approval



def call(
    approval_id: str,

) -> Call[Approval]:
    """The request."""
    return Call(
        operation="get_approval",
        method="GET",
        path=path_of(
            "/api/v1/approvals/{approval_id}",
            approval_id=approval_id,
        ),
        read=Approval.from_dict,
    )
