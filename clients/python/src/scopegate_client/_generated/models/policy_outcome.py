from typing import Literal, cast

PolicyOutcome = Literal[
    "action", "arguments_unknown", "condition", "failed", "principal", "resource", "satisfied"
]


def check_policy_outcome(value: str) -> PolicyOutcome:
    """A newer service may know more values than these: they come through as they are."""
    return cast(PolicyOutcome, value)
