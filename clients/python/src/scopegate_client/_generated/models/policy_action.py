from typing import Literal, cast

PolicyAction = Literal["call_tool", "use_prompts", "use_resources", "use_server"]


def check_policy_action(value: str) -> PolicyAction:
    """A newer service may know more values than these: they come through as they are."""
    return cast(PolicyAction, value)
