from typing import Literal, cast

KeepArguments = Literal["all", "approvals", "off"]


def check_keep_arguments(value: str) -> KeepArguments:
    """A newer service may know more values than these: they come through as they are."""
    return cast(KeepArguments, value)
