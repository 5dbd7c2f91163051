from typing import Literal, cast

ToolState = Literal["active", "quarantined", "removed"]


def check_tool_state(value: str) -> ToolState:
    """A newer service may know more values than these: they come through as they are."""
    return cast(ToolState, value)
