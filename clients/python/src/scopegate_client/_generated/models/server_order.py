from typing import Literal, cast

ServerOrder = Literal["-created_at", "-name", "-slug", "created_at", "name", "slug"]


def check_server_order(value: str) -> ServerOrder:
    """A newer service may know more values than these: they come through as they are."""
    return cast(ServerOrder, value)
