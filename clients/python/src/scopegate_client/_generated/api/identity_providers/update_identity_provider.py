"""PATCH /api/v1/identity-providers/{identity_provider_id}"""

from __future__ import annotations

from collections.abc import Sequence

from ...._call import (
    Call,
    JsonObject,
    entity_tag,
    path_of,
    sent_body,
)
from ...models.access_token_type import AccessTokenType
from ...models.identity_provider import IdentityProvider
from ...models.identity_provider_status import IdentityProviderStatus
from ...models.role_map_changes import RoleMapChanges
from ...models.scim_settings_update import ScimSettingsUpdate
from ...models.signals_settings_update import SignalsSettingsUpdate
from ...models.signing_algorithm import SigningAlgorithm
from ...models.workload import Workload
from ...types import UNSET, Unset


def call(
    identity_provider_id: str,
    *,
    name: str | Unset = UNSET,
    audiences: Sequence[str] | Unset = UNSET,
    algorithms: Sequence[SigningAlgorithm] | Unset = UNSET,
    token_types: Sequence[AccessTokenType] | Unset = UNSET,
    role_claim: str | Unset = UNSET,
    role_map: RoleMapChanges | JsonObject | Unset = UNSET,
    link_claim: str | Unset = UNSET,
    people: Sequence[str] | Unset = UNSET,
    client_id: str | None | Unset = UNSET,
    scopes: Sequence[str] | Unset = UNSET,
    workloads: Sequence[Workload | JsonObject] | Unset = UNSET,
    scim: ScimSettingsUpdate | JsonObject | None | Unset = UNSET,
    signals: SignalsSettingsUpdate | JsonObject | None | Unset = UNSET,
    status: IdentityProviderStatus | Unset = UNSET,
    if_match: int | str | None = None,
) -> Call[IdentityProvider]:
    """The request."""
    return Call(
        operation="update_identity_provider",
        method="PATCH",
        path=path_of(
            "/api/v1/identity-providers/{identity_provider_id}",
            identity_provider_id=identity_provider_id,
        ),
        headers={
            "If-Match": entity_tag(if_match),
        },
        json=sent_body(
            {
                "name": name,
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
