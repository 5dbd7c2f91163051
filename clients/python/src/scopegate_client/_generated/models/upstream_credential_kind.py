from typing import Literal, cast

UpstreamCredentialKind = Literal["bearer", "env", "header", "none", "oauth_client_credentials"]


def check_upstream_credential_kind(value: str) -> UpstreamCredentialKind:
    """A newer service may know more values than these: they come through as they are."""
    return cast(UpstreamCredentialKind, value)
