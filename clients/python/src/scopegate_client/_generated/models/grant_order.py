from typing import Literal, cast

GrantOrder = Literal["-created_at", "-expires_at", "created_at", "expires_at"]


def check_grant_order(value: str) -> GrantOrder:
    """A newer service may know more values than these: they come through as they are."""
    return cast(GrantOrder, value)
