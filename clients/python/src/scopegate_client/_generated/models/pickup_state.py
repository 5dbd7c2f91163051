from typing import Literal, cast

PickupState = Literal["cancelled", "expired", "pending", "picked_up"]


def check_pickup_state(value: str) -> PickupState:
    """A newer service may know more values than these: they come through as they are."""
    return cast(PickupState, value)
