from typing import Literal, cast

GrantStatus = Literal["active", "ended", "expired", "scheduled"]


def check_grant_status(value: str) -> GrantStatus:
    """A newer service may know more values than these: they come through as they are."""
    return cast(GrantStatus, value)
