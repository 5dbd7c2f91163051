from typing import Literal, cast

PolicyOrder = Literal["-created_at", "created_at"]


def check_policy_order(value: str) -> PolicyOrder:
    """A newer service may know more values than these: they come through as they are."""
    return cast(PolicyOrder, value)
