from typing import Literal, cast

TokenDelivery = Literal["pickup", "reveal"]


def check_token_delivery(value: str) -> TokenDelivery:
    """A newer service may know more values than these: they come through as they are."""
    return cast(TokenDelivery, value)
