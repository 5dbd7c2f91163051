"""PATCH /api/v1/service-accounts/{service_account_id}"""

from __future__ import annotations

from ...._call import (
    Call,
    entity_tag,
    path_of,
    sent_body,
)
from ...models.role import Role
from ...models.service_account import ServiceAccount
from ...models.service_account_status import ServiceAccountStatus
from ...types import UNSET, Unset


def call(
    service_account_id: str,
    *,
    name: str | Unset = UNSET,
    owner_id: str | Unset = UNSET,
    role: Role | Unset = UNSET,
    status: ServiceAccountStatus | Unset = UNSET,
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
        json=sent_body(
            {
                "name": name,
                "owner_id": owner_id,
                "role": role,
                "status": status,
            }
        ),
        read=ServiceAccount.from_dict,
    )
