from typing import Literal, cast

IdentityStatus = Literal["active", "offboarded", "suspended"]


def check_identity_status(value: str) -> IdentityStatus:
    """A newer service may know more values than these: they come through as they are."""
    return cast(IdentityStatus, value)
