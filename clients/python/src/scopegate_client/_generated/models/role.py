from typing import Literal, cast

Role = Literal["admin", "approver", "auditor", "issuer", "owner", "provisioner"]


def check_role(value: str) -> Role:
    """A newer service may know more values than these: they come through as they are."""
    return cast(Role, value)
