from typing import Literal, cast

GrantFault = Literal["expired", "no_prompts", "no_resources", "not_yet", "other_servers", "other_tools"]


def check_grant_fault(value: str) -> GrantFault:
    """A newer service may know more values than these: they come through as they are."""
    return cast(GrantFault, value)
