"""GET /api/v1/identity-providers/{identity_provider_id}/signals"""

from __future__ import annotations

from ...._call import (
    Call,
    path_of,
)
from ...models.signal_stream import SignalStream


def call(
    identity_provider_id: str,
) -> Call[SignalStream]:
    """The request."""
    return Call(
        operation="get_signal_stream",
        method="GET",
        path=path_of(
            "/api/v1/identity-providers/{identity_provider_id}/signals",
            identity_provider_id=identity_provider_id,
        ),
        read=SignalStream.from_dict,
    )
