from typing import Literal, cast

ApprovalDefect = Literal[
    "definition_changed",
    "identity_offboarded",
    "not_requestable",
    "policies_changed",
    "risk_changed",
    "token_ended",
]


def check_approval_defect(value: str) -> ApprovalDefect:
    """A newer service may know more values than these: they come through as they are."""
    return cast(ApprovalDefect, value)
