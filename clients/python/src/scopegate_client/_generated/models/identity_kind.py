from typing import Literal, cast

IdentityKind = Literal["agent", "person"]


def check_identity_kind(value: str) -> IdentityKind:
    """A newer service may know more values than these: they come through as they are."""
    return cast(IdentityKind, value)
