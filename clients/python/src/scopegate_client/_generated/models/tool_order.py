from typing import Literal, cast

ToolOrder = Literal["-created_at", "-name", "created_at", "name"]


def check_tool_order(value: str) -> ToolOrder:
    """A newer service may know more values than these: they come through as they are."""
    return cast(ToolOrder, value)
