"""GET /api/v1/tokens/{token_id}"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ...._call import Call, JsonObject, anything, entity_tag, nothing, path_of, sent_body, encode
from ...types import UNSET, Unset

from typing import cast
from ...models.token import Token



def call(
    token_id: str,

) -> Call[Token]:
    """The request."""
    return Call(
        operation="get_token",
        method="GET",
        path=path_of(
            "/api/v1/tokens/{token_id}",
            token_id=token_id,
        ),
        read=Token.from_dict,
    )
