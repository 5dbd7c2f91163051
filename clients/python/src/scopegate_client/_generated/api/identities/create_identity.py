"""POST /api/v1/identities"""

from __future__ import annotations

from collections.abc import Sequence

from ...._call import (
    Call,
    JsonObject,
    sent_body,
)
from ...models.identity import Identity
from ...models.identity_attributes import IdentityAttributes
from ...models.identity_kind import IdentityKind
from ...models.identity_link_input import IdentityLinkInput
from ...types import UNSET, Unset


def call(
    *,
    kind: IdentityKind,
    user_name: str,
    display_name: str | None | Unset = UNSET,
    email: str | None | Unset = UNSET,
    owner_id: str | None | Unset = UNSET,
    external_id: str | None | Unset = UNSET,
    attributes: IdentityAttributes | JsonObject | Unset = UNSET,
    links: Sequence[IdentityLinkInput | JsonObject] | Unset = UNSET,
    idempotency_key: str | None = None,
) -> Call[Identity]:
    """The request."""
    return Call(
        operation="create_identity",
        method="POST",
        path="/api/v1/identities",
        takes_key=True,
        idempotency_key=idempotency_key,
        json=sent_body(
            {
                "kind": kind,
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
