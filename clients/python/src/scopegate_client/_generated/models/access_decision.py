from typing import Literal, cast

AccessDecision = Literal["allow", "require_approval"]


def check_access_decision(value: str) -> AccessDecision:
    """A newer service may know more values than these: they come through as they are."""
    return cast(AccessDecision, value)
