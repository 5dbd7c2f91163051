from typing import Literal, cast

IdentityOrder = Literal["-created_at", "-user_name", "created_at", "user_name"]


def check_identity_order(value: str) -> IdentityOrder:
    """A newer service may know more values than these: they come through as they are."""
    return cast(IdentityOrder, value)
