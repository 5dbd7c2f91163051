"""GET /api/v1/invitations/{invitation_id}"""

from __future__ import annotations

from ...._call import (
    Call,
    path_of,
)
from ...models.invitation import Invitation


def call(
    invitation_id: str,
) -> Call[Invitation]:
    """The request."""
    return Call(
        operation="get_invitation",
        method="GET",
        path=path_of(
            "/api/v1/invitations/{invitation_id}",
            invitation_id=invitation_id,
        ),
        read=Invitation.from_dict,
    )
