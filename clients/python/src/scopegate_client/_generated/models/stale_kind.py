from typing import Literal, cast

StaleKind = Literal["grant", "token"]


def check_stale_kind(value: str) -> StaleKind:
    """A newer service may know more values than these: they come through as they are."""
    return cast(StaleKind, value)
