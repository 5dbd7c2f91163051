from typing import Literal, cast

ServiceAccountStatus = Literal["active", "disabled"]


def check_service_account_status(value: str) -> ServiceAccountStatus:
    """A newer service may know more values than these: they come through as they are."""
    return cast(ServiceAccountStatus, value)
