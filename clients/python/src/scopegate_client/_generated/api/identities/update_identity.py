"""PATCH /api/v1/identities/{identity_id}"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ...._call import Call, JsonObject, anything, entity_tag, nothing, path_of, sent_body, encode
from ...types import UNSET, Unset
from ...types import UNSET, Unset
from ...types import UNSET, Unset
from typing import cast
from ...types import UNSET, Unset
from typing import cast
from ...types import UNSET, Unset
from ...types import UNSET, Unset
from typing import cast
from ...types import UNSET, Unset
from typing import cast
from ...models.identity_attribute_changes import IdentityAttributeChanges

from typing import cast
from ...models.identity import Identity



def call(
    identity_id: str,
    *,
    user_name: str | Unset = UNSET,
    display_name: str | None | Unset = UNSET,
    email: str | None | Unset = UNSET,
    owner_id: str | Unset = UNSET,
    external_id: str | None | Unset = UNSET,
    attributes: IdentityAttributeChanges | JsonObject | Unset = UNSET,
    if_match: int | str | None = None,

) -> Call[Identity]:
    """The request."""
    return Call(
        operation="update_identity",
        method="PATCH",
        path=path_of(
            "/api/v1/identities/{identity_id}",
            identity_id=identity_id,
        ),
        headers={
            "If-Match": entity_tag(if_match),
        },
        json=sent_body(
            {
                "user_name": user_name,
                "display_name": display_name,
                "email": email,
                "owner_id": owner_id,
                "external_id": external_id,
                "attributes": attributes,
            }
        ),
        read=Identity.from_dict,
    )
