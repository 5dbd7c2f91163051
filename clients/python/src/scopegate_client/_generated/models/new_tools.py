from typing import Literal, cast

NewTools = Literal["allow", "quarantine"]


def check_new_tools(value: str) -> NewTools:
    """A newer service may know more values than these: they come through as they are."""
    return cast(NewTools, value)
