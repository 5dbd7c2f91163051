from typing import Literal, cast

PolicyStatus = Literal["draft", "ended", "published"]


def check_policy_status(value: str) -> PolicyStatus:
    """A newer service may know more values than these: they come through as they are."""
    return cast(PolicyStatus, value)
