from typing import Literal, cast

ApprovalKind = Literal["access", "call"]


def check_approval_kind(value: str) -> ApprovalKind:
    """A newer service may know more values than these: they come through as they are."""
    return cast(ApprovalKind, value)
