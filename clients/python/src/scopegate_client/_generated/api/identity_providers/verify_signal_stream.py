"""POST /api/v1/identity-providers/{identity_provider_id}/signals/verify"""

from __future__ import annotations

from ...._call import (
    Call,
    entity_tag,
    path_of,
)
from ...models.signal_stream import SignalStream


def call(
    identity_provider_id: str,
    *,
    if_match: int | str | None = None,
) -> Call[SignalStream]:
    """The request."""
    return Call(
        operation="verify_signal_stream",
        method="POST",
        path=path_of(
            "/api/v1/identity-providers/{identity_provider_id}/signals/verify",
            identity_provider_id=identity_provider_id,
        ),
        headers={
            "If-Match": entity_tag(if_match),
        },
        read=SignalStream.from_dict,
    )
