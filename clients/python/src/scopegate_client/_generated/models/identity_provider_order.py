from typing import Literal, cast

IdentityProviderOrder = Literal["-created_at", "-name", "created_at", "name"]


def check_identity_provider_order(value: str) -> IdentityProviderOrder:
    """A newer service may know more values than these: they come through as they are."""
    return cast(IdentityProviderOrder, value)
