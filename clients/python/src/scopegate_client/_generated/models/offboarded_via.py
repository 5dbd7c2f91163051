from typing import Literal, cast

OffboardedVia = Literal["api", "schedule", "scim", "signal"]


def check_offboarded_via(value: str) -> OffboardedVia:
    """A newer service may know more values than these: they come through as they are."""
    return cast(OffboardedVia, value)
