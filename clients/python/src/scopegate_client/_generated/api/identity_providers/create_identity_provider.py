"""POST /api/v1/identity-providers"""

from __future__ import annotations

from collections.abc import Sequence

from ...._call import (
    Call,
    JsonObject,
    sent_body,
)
from ...models.access_token_type import AccessTokenType
from ...models.identity_provider import IdentityProvider
from ...models.identity_provider_status import IdentityProviderStatus
from ...models.role_map import RoleMap
from ...models.scim_settings import ScimSettings
from ...models.signals_settings import SignalsSettings
from ...models.signing_algorithm import SigningAlgorithm
from ...models.workload import Workload
from ...types import UNSET, Unset


def call(
    *,
    name: str,
    issuer: str,
    audiences: Sequence[str],
    algorithms: Sequence[SigningAlgorithm] | Unset = UNSET,
    token_types: Sequence[AccessTokenType] | Unset = UNSET,
    role_claim: str | Unset = UNSET,
    role_map: RoleMap | JsonObject | Unset = UNSET,
    link_claim: str | Unset = UNSET,
    people: Sequence[str] | Unset = UNSET,
    client_id: str | None | Unset = UNSET,
    scopes: Sequence[str] | Unset = UNSET,
    workloads: Sequence[Workload | JsonObject] | Unset = UNSET,
    scim: ScimSettings | JsonObject | None | Unset = UNSET,
    signals: SignalsSettings | JsonObject | None | Unset = UNSET,
    status: IdentityProviderStatus | Unset = UNSET,
    idempotency_key: str | None = None,
) -> Call[IdentityProvider]:
    """The request."""
    return Call(
        operation="create_identity_provider",
        method="POST",
        path="/api/v1/identity-providers",
        takes_key=True,
        idempotency_key=idempotency_key,
        json=sent_body(
            {
                "name": name,
                "issuer": issuer,
                "audiences": audiences,
                "algorithms": algorithms,
                "token_types": token_types,
                "role_claim": role_claim,
                "role_map": role_map,
                "link_claim": link_claim,
                "people": people,
                "client_id": client_id,
                "scopes": scopes,
                "workloads": workloads,
                "scim": scim,
                "signals": signals,
                "status": status,
            }
        ),
        read=IdentityProvider.from_dict,
    )
