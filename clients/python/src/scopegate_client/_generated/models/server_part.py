from typing import Literal, cast

ServerPart = Literal["prompts", "resources"]


def check_server_part(value: str) -> ServerPart:
    """A newer service may know more values than these: they come through as they are."""
    return cast(ServerPart, value)
