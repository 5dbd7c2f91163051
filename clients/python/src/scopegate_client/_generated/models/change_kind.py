from typing import Literal, cast

ChangeKind = Literal["added", "changed", "removed"]


def check_change_kind(value: str) -> ChangeKind:
    """A newer service may know more values than these: they come through as they are."""
    return cast(ChangeKind, value)
