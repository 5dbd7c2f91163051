"""PUT /api/v1/identity-providers/{identity_provider_id}/signals/credential"""

from __future__ import annotations

from ...._call import (
    Call,
    JsonObject,
    entity_tag,
    path_of,
    sent_body,
)
from ...models.signal_stream import SignalStream


def call(
    identity_provider_id: str,
    fields: JsonObject,
    *,
    if_match: int | str | None = None,
) -> Call[SignalStream]:
    """The request."""
    return Call(
        operation="set_signal_credential",
        method="PUT",
        path=path_of(
            "/api/v1/identity-providers/{identity_provider_id}/signals/credential",
            identity_provider_id=identity_provider_id,
        ),
        headers={
            "If-Match": entity_tag(if_match),
        },
        json=sent_body(fields),
        read=SignalStream.from_dict,
    )
