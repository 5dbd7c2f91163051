from typing import Literal, cast

PolicyEffect = Literal["forbid", "permit"]


def check_policy_effect(value: str) -> PolicyEffect:
    """A newer service may know more values than these: they come through as they are."""
    return cast(PolicyEffect, value)
