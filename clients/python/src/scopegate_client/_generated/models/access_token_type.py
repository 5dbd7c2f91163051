from typing import Literal, cast

AccessTokenType = Literal["at+jwt", "JWT", "none"]


def check_access_token_type(value: str) -> AccessTokenType:
    """A newer service may know more values than these: they come through as they are."""
    return cast(AccessTokenType, value)
