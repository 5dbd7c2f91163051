from typing import Literal, cast

PolicyMode = Literal["enforce", "observe"]


def check_policy_mode(value: str) -> PolicyMode:
    """A newer service may know more values than these: they come through as they are."""
    return cast(PolicyMode, value)
