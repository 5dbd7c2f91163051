from typing import Literal, cast

UsedPart = Literal["prompts", "resources", "tools"]


def check_used_part(value: str) -> UsedPart:
    """A newer service may know more values than these: they come through as they are."""
    return cast(UsedPart, value)
