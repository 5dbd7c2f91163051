"""GET /api/v1/approvals/{approval_id}/arguments"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ...._call import Call, JsonObject, anything, entity_tag, nothing, path_of, sent_body, encode
from ...types import UNSET, Unset

from typing import cast
from ...models.approval_arguments import ApprovalArguments



def call(
    approval_id: str,

) -> Call[ApprovalArguments]:
    """The request."""
    return Call(
        operation="get_approval_arguments",
        method="GET",
        path=path_of(
            "/api/v1/approvals/{approval_id}/arguments",
            approval_id=approval_id,
        ),
        read=ApprovalArguments.from_dict,
    )
