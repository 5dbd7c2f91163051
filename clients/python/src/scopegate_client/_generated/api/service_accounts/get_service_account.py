"""GET /api/v1/service-accounts/{service_account_id}"""

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
from ...models.service_account import ServiceAccount



def call(
    service_account_id: str,
    *,
    include: Literal['ended'] | None = None,

) -> Call[ServiceAccount]:
    """The request."""
    return Call(
        operation="get_service_account",
        method="GET",
        path=path_of(
            "/api/v1/service-accounts/{service_account_id}",
            service_account_id=service_account_id,
        ),
        query={
            "include": include,
        },
        read=ServiceAccount.from_dict,
    )
