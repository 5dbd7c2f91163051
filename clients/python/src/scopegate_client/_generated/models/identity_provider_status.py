from typing import Literal, cast

IdentityProviderStatus = Literal["active", "disabled"]


def check_identity_provider_status(value: str) -> IdentityProviderStatus:
    """A newer service may know more values than these: they come through as they are."""
    return cast(IdentityProviderStatus, value)
