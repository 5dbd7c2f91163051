"""GET /api/v1/identity-providers/{identity_provider_id}"""

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
from ...models.identity_provider import IdentityProvider



def call(
    identity_provider_id: str,
    *,
    include: Literal['ended'] | None = None,

) -> Call[IdentityProvider]:
    """The request."""
    return Call(
        operation="get_identity_provider",
        method="GET",
        path=path_of(
            "/api/v1/identity-providers/{identity_provider_id}",
            identity_provider_id=identity_provider_id,
        ),
        query={
            "include": include,
        },
        read=IdentityProvider.from_dict,
    )
