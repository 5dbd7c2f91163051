from typing import Literal, cast

AdministratorOrder = Literal["-created_at", "-last_sign_in_at", "created_at", "last_sign_in_at"]


def check_administrator_order(value: str) -> AdministratorOrder:
    """A newer service may know more values than these: they come through as they are."""
    return cast(AdministratorOrder, value)
