"""POST /api/v1/tokens/bulk-revoke"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ...._call import Call, JsonObject, anything, entity_tag, nothing, path_of, sent_body, encode
from ...types import UNSET, Unset
from typing import cast
from ...models.token_bulk_revoke_filter import TokenBulkRevokeFilter

from ...types import UNSET, Unset
from typing import cast
from ...models.token_bulk_revocation import TokenBulkRevocation



def call(
    *,
    filter: TokenBulkRevokeFilter | JsonObject,
    reason: str,
    dry_run: bool = False,

) -> Call[TokenBulkRevocation]:
    """The request."""
    return Call(
        operation="bulk_revoke_tokens",
        method="POST",
        path="/api/v1/tokens/bulk-revoke",
        query={
            "dry_run": dry_run,
        },
        json=sent_body(
            {
                "filter": filter,
                "reason": reason,
            }
        ),
        read=TokenBulkRevocation.from_dict,
    )
