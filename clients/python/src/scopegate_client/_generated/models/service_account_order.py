from typing import Literal, cast

ServiceAccountOrder = Literal["-created_at", "-name", "created_at", "name"]


def check_service_account_order(value: str) -> ServiceAccountOrder:
    """A newer service may know more values than these: they come through as they are."""
    return cast(ServiceAccountOrder, value)
