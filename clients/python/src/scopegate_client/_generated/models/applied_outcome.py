from typing import Literal, cast

AppliedOutcome = Literal["changed", "ended", "narrowed", "not_found"]


def check_applied_outcome(value: str) -> AppliedOutcome:
    """A newer service may know more values than these: they come through as they are."""
    return cast(AppliedOutcome, value)
