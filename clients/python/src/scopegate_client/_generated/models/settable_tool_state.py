from typing import Literal, cast

SettableToolState = Literal["active", "quarantined"]


def check_settable_tool_state(value: str) -> SettableToolState:
    """A newer service may know more values than these: they come through as they are."""
    return cast(SettableToolState, value)
