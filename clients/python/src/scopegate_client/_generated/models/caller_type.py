from typing import Literal, cast

CallerType = Literal["administrator", "break_glass", "identity", "service_account"]


def check_caller_type(value: str) -> CallerType:
    """A newer service may know more values than these: they come through as they are."""
    return cast(CallerType, value)
