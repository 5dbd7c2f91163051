from typing import Literal, cast

ServerStatus = Literal["active", "disabled"]


def check_server_status(value: str) -> ServerStatus:
    """A newer service may know more values than these: they come through as they are."""
    return cast(ServerStatus, value)
