from typing import Literal, cast

IdentityProviderSource = Literal["api", "environment"]


def check_identity_provider_source(value: str) -> IdentityProviderSource:
    """A newer service may know more values than these: they come through as they are."""
    return cast(IdentityProviderSource, value)
