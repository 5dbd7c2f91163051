from typing import Literal, cast

AdministratorStatus = Literal["active", "disabled"]


def check_administrator_status(value: str) -> AdministratorStatus:
    """A newer service may know more values than these: they come through as they are."""
    return cast(AdministratorStatus, value)
