from typing import Literal, cast

MeType = Literal["administrator", "break_glass", "identity", "service_account"]


def check_me_type(value: str) -> MeType:
    """A newer service may know more values than these: they come through as they are."""
    return cast(MeType, value)
