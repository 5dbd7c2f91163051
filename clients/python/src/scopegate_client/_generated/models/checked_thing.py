from typing import Literal, cast

CheckedThing = Literal["access", "address", "identity", "last_denial", "secret", "server", "token"]


def check_checked_thing(value: str) -> CheckedThing:
    """A newer service may know more values than these: they come through as they are."""
    return cast(CheckedThing, value)
