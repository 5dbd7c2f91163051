from typing import Literal, cast

InvitationStatus = Literal["claimed", "confirmed", "expired", "pending", "revoked"]


def check_invitation_status(value: str) -> InvitationStatus:
    """A newer service may know more values than these: they come through as they are."""
    return cast(InvitationStatus, value)
