from typing import Literal, cast

StaleState = Literal["in_use", "partly_used", "unknown", "unused"]


def check_stale_state(value: str) -> StaleState:
    """A newer service may know more values than these: they come through as they are."""
    return cast(StaleState, value)
