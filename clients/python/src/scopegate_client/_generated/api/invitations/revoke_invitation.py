"""DELETE /api/v1/invitations/{invitation_id}"""

from __future__ import annotations

from ...._call import (
    Call,
    entity_tag,
    path_of,
)
from ...models.invitation import Invitation


def call(
    invitation_id: str,
    *,
    if_match: int | str | None = None,
) -> Call[Invitation]:
    """The request."""
    return Call(
        operation="revoke_invitation",
        method="DELETE",
        path=path_of(
            "/api/v1/invitations/{invitation_id}",
            invitation_id=invitation_id,
        ),
        headers={
            "If-Match": entity_tag(if_match),
        },
        read=Invitation.from_dict,
    )
