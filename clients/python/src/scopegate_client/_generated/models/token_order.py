from typing import Literal, cast

TokenOrder = Literal["-created_at", "-expires_at", "-name", "created_at", "expires_at", "name"]


def check_token_order(value: str) -> TokenOrder:
    """A newer service may know more values than these: they come through as they are."""
    return cast(TokenOrder, value)
