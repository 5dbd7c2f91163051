"""POST /api/v1/identity-providers"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ...._call import Call, JsonObject, anything, entity_tag, nothing, path_of, sent_body, encode
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
from ...models.role_map import RoleMap
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
from ...models.scim_settings import ScimSettings
from ...types import UNSET, Unset
from typing import cast
from ...models.signals_settings import SignalsSettings
from ...types import UNSET, Unset
from typing import cast
from ...models.identity_provider_status import IdentityProviderStatus

from typing import cast
from ...models.identity_provider import IdentityProvider



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
