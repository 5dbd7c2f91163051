"""GET /.well-known/jwks.json"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ...._call import Call, JsonObject, anything, entity_tag, nothing, path_of, sent_body, encode
from ...types import UNSET, Unset

from typing import cast
from ...models.json_web_key_set import JsonWebKeySet



def call(
    
) -> Call[JsonWebKeySet]:
    """The request."""
    return Call(
        operation="get_public_keys",
        method="GET",
        path="/.well-known/jwks.json",
        signed=False,
        read=JsonWebKeySet.from_dict,
    )
