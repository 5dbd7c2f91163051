from typing import Literal, cast

GrantFault = Literal[
    "expired",
    "not_started",
    "prompts_not_covered",
    "resources_not_covered",
    "server_not_covered",
    "tool_not_covered",
]


def check_grant_fault(value: str) -> GrantFault:
    """A newer service may know more values than these: they come through as they are."""
    return cast(GrantFault, value)
