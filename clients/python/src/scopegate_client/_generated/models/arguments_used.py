from typing import Literal, cast

ArgumentsUsed = Literal["given", "kept", "none", "not_kept", "not_permitted"]


def check_arguments_used(value: str) -> ArgumentsUsed:
    """A newer service may know more values than these: they come through as they are."""
    return cast(ArgumentsUsed, value)
