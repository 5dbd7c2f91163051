from typing import Literal, cast

SignalsDelivery = Literal["poll", "push"]


def check_signals_delivery(value: str) -> SignalsDelivery:
    """A newer service may know more values than these: they come through as they are."""
    return cast(SignalsDelivery, value)
