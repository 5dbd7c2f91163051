"""PATCH /api/v1/service-accounts/{service_account_id}"""

from __future__ import annotations

from ...._call import (
    Call,
    JsonObject,
    entity_tag,
    path_of,
    sent_body,
)
from ...models.service_account import ServiceAccount


def call(
    service_account_id: str,
    fields: JsonObject,
    *,
    if_match: int | str | None = None,
) -> Call[ServiceAccount]:
    """The request."""
    return Call(
        operation="update_service_account",
        method="PATCH",
        path=path_of(
            "/api/v1/service-accounts/{service_account_id}",
            service_account_id=service_account_id,
        ),
        headers={
            "If-Match": entity_tag(if_match),
        },
        json=sent_body(fields),
        read=ServiceAccount.from_dict,
    )
