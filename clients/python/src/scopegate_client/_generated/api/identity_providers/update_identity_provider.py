"""PATCH /api/v1/identity-providers/{identity_provider_id}"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ...._call import Call, JsonObject, anything, entity_tag, nothing, path_of, sent_body, encode
from ...types import UNSET, Unset
from ...types import UNSET, Unset
from ...types import UNSET, Unset
from typing import cast
from typing import cast
from ...types import UNSET, Unset
from ...models.signing_algorithm import SigningAlgorithm
from ...types import UNSET, Unset
from typing import cast
from ...models.access_token_type import AccessTokenType
from ...types import UNSET, Unset
from ...types import UNSET, Unset
from typing import cast
from ...models.role_map_changes import RoleMapChanges
from ...types import UNSET, Unset
from ...types import UNSET, Unset
from typing import cast
from ...types import UNSET, Unset
from typing import cast
from ...types import UNSET, Unset
from typing import cast
from ...models.workload import Workload
from ...types import UNSET, Unset
from typing import cast
from ...models.scim_settings_update import ScimSettingsUpdate
from ...types import UNSET, Unset
from typing import cast
from ...models.signals_settings_update import SignalsSettingsUpdate
from ...types import UNSET, Unset
from typing import cast
from ...models.identity_provider_status import IdentityProviderStatus

from typing import cast
from ...models.identity_provider import IdentityProvider



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
