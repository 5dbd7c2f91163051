from typing import Literal, cast

Risk = Literal["destructive", "read", "unknown", "write"]


def check_risk(value: str) -> Risk:
    """A newer service may know more values than these: they come through as they are."""
    return cast(Risk, value)
