"""POST /api/v1/identities/{identity_id}/offboard"""

from __future__ import annotations

import datetime

from ...._call import (
    Call,
    entity_tag,
    path_of,
    sent_body,
)
from ...models.offboard_receipt import OffboardReceipt
from ...types import UNSET, Unset


def call(
    identity_id: str,
    *,
    reason: str,
    transfer_agents_to: str | None | Unset = UNSET,
    effective_at: datetime.datetime | None | Unset = UNSET,
    dry_run: bool = False,
    if_match: int | str | None = None,
) -> Call[OffboardReceipt]:
    """The request."""
    return Call(
        operation="offboard_identity",
        method="POST",
        path=path_of(
            "/api/v1/identities/{identity_id}/offboard",
            identity_id=identity_id,
        ),
        query={
            "dry_run": dry_run,
        },
        headers={
            "If-Match": entity_tag(if_match),
        },
        json=sent_body(
            {
                "reason": reason,
                "transfer_agents_to": transfer_agents_to,
                "effective_at": effective_at,
            }
        ),
        read=OffboardReceipt.from_dict,
    )
