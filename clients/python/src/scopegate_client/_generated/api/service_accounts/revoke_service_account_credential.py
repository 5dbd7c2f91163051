"""DELETE /api/v1/service-accounts/{service_account_id}/credentials/{credential_id}"""

from __future__ import annotations

from ...._call import (
    Call,
    entity_tag,
    nothing,
    path_of,
)


def call(
    service_account_id: str,
    credential_id: str,
    *,
    if_match: int | str | None = None,
) -> Call[None]:
    """The request."""
    return Call(
        operation="revoke_service_account_credential",
        method="DELETE",
        path=path_of(
            "/api/v1/service-accounts/{service_account_id}/credentials/{credential_id}",
            service_account_id=service_account_id,
            credential_id=credential_id,
        ),
        headers={
            "If-Match": entity_tag(if_match),
        },
        read=nothing,
    )
