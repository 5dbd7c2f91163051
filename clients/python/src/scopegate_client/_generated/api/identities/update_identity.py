"""PATCH /api/v1/identities/{identity_id}"""

from __future__ import annotations

from collections.abc import Sequence

from ...._call import (
    Call,
    JsonObject,
    entity_tag,
    path_of,
    sent_body,
)
from ...models.identity import Identity
from ...models.identity_attribute_changes import IdentityAttributeChanges
from ...models.identity_link_input import IdentityLinkInput
from ...types import UNSET, Unset


def call(
    identity_id: str,
    *,
    user_name: str | Unset = UNSET,
    display_name: str | None | Unset = UNSET,
    email: str | None | Unset = UNSET,
    owner_id: str | Unset = UNSET,
    external_id: str | None | Unset = UNSET,
    attributes: IdentityAttributeChanges | JsonObject | Unset = UNSET,
    links: Sequence[IdentityLinkInput | JsonObject] | Unset = UNSET,
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
                "links": links,
            }
        ),
        read=Identity.from_dict,
    )
