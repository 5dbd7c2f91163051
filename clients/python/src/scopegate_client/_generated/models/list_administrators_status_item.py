from typing import Literal, cast

ListAdministratorsStatusItem = Literal["active", "disabled"]


def check_list_administrators_status_item(value: str) -> ListAdministratorsStatusItem:
    """A newer service may know more values than these: they come through as they are."""
    return cast(ListAdministratorsStatusItem, value)
