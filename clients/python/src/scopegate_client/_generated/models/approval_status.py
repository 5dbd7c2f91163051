from typing import Literal, cast

ApprovalStatus = Literal["approved", "cancelled", "consumed", "denied", "expired", "pending"]


def check_approval_status(value: str) -> ApprovalStatus:
    """A newer service may know more values than these: they come through as they are."""
    return cast(ApprovalStatus, value)
