from typing import Literal, cast

InstructionsState = Literal["approved", "none", "pending"]


def check_instructions_state(value: str) -> InstructionsState:
    """A newer service may know more values than these: they come through as they are."""
    return cast(InstructionsState, value)
