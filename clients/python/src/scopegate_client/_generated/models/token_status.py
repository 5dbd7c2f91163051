from typing import Literal, cast

TokenStatus = Literal["active", "expired", "revoked", "suspended"]


def check_token_status(value: str) -> TokenStatus:
    """A newer service may know more values than these: they come through as they are."""
    return cast(TokenStatus, value)
