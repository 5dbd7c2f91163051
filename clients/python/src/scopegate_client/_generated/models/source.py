from typing import Literal, cast

Source = Literal["manual", "scim"]


def check_source(value: str) -> Source:
    """A newer service may know more values than these: they come through as they are."""
    return cast(Source, value)
