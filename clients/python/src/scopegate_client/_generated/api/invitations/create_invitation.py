"""POST /api/v1/invitations"""

from __future__ import annotations

import datetime

from ...._call import (
    Call,
    JsonObject,
    sent_body,
)
from ...models.invited_person import InvitedPerson
from ...models.issued_invitation import IssuedInvitation
from ...types import UNSET, Unset


def call(
    *,
    provider_id: str,
    identity_id: str | None | Unset = UNSET,
    person: InvitedPerson | JsonObject | None | Unset = UNSET,
    email: str | None | Unset = UNSET,
    subject: str | None | Unset = UNSET,
    expires_at: datetime.datetime | None | Unset = UNSET,
    idempotency_key: str | None = None,
) -> Call[IssuedInvitation]:
    """The request."""
    return Call(
        operation="create_invitation",
        method="POST",
        path="/api/v1/invitations",
        takes_key=True,
        idempotency_key=idempotency_key,
        json=sent_body(
            {
                "provider_id": provider_id,
                "identity_id": identity_id,
                "person": person,
                "email": email,
                "subject": subject,
                "expires_at": expires_at,
            }
        ),
        read=IssuedInvitation.from_dict,
    )
