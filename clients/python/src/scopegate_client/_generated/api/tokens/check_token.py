"""POST /api/v1/tokens/{token_id}/check"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ...._call import Call, JsonObject, anything, entity_tag, nothing, path_of, sent_body, encode
from ...types import UNSET, Unset
from ...types import UNSET, Unset
from typing import cast
from ...models.secret import Secret
from ...types import UNSET, Unset
from typing import cast

from typing import cast
from ...models.connection_check import ConnectionCheck



def call(
    token_id: str,
    *,
    secret: Secret | str | Unset = UNSET,
    server_ids: Sequence[str] | Unset = UNSET,

) -> Call[ConnectionCheck]:
    """The request."""
    return Call(
        operation="check_token",
        method="POST",
        path=path_of(
            "/api/v1/tokens/{token_id}/check",
            token_id=token_id,
        ),
        json=sent_body(
            {
                "secret": secret,
                "server_ids": server_ids,
            }
        ),
        read=ConnectionCheck.from_dict,
    )
