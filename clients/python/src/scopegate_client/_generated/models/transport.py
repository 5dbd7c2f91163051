from typing import Literal, cast

Transport = Literal["stdio", "streamable_http"]


def check_transport(value: str) -> Transport:
    """A newer service may know more values than these: they come through as they are."""
    return cast(Transport, value)
