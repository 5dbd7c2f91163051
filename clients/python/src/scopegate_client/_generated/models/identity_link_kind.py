from typing import Literal, cast

IdentityLinkKind = Literal["oidc", "scim", "signal"]


def check_identity_link_kind(value: str) -> IdentityLinkKind:
    """A newer service may know more values than these: they come through as they are."""
    return cast(IdentityLinkKind, value)
