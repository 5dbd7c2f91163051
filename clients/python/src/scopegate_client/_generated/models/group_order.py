from typing import Literal, cast

GroupOrder = Literal["-created_at", "-name", "created_at", "name"]


def check_group_order(value: str) -> GroupOrder:
    """A newer service may know more values than these: they come through as they are."""
    return cast(GroupOrder, value)
