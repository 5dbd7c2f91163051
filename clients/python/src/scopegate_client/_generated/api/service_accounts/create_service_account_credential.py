"""POST /api/v1/service-accounts/{service_account_id}/credentials"""

from __future__ import annotations

from ...._call import (
    Call,
    path_of,
)
from ...models.issued_credential import IssuedCredential


def call(
    service_account_id: str,
    *,
    idempotency_key: str | None = None,
) -> Call[IssuedCredential]:
    """The request."""
    return Call(
        operation="create_service_account_credential",
        method="POST",
        path=path_of(
            "/api/v1/service-accounts/{service_account_id}/credentials",
            service_account_id=service_account_id,
        ),
        takes_key=True,
        idempotency_key=idempotency_key,
        read=IssuedCredential.from_dict,
    )
