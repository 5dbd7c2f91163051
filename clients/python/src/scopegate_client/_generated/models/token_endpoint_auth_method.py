from typing import Literal, cast

TokenEndpointAuthMethod = Literal["client_secret_basic", "client_secret_post"]


def check_token_endpoint_auth_method(value: str) -> TokenEndpointAuthMethod:
    """A newer service may know more values than these: they come through as they are."""
    return cast(TokenEndpointAuthMethod, value)
