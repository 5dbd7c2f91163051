from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from attrs import define

if TYPE_CHECKING:
    from ..models.tool_grant import ToolGrant


@define(kw_only=True)
class ToolGrants:
    """The active grants that reach a tool."""

    tool_id: str
    """The id of a tool."""

    observed_since: datetime.datetime
    """When the recording of uses began."""

    items: list[ToolGrant]
    """The grants of this page, newest first."""

    next_cursor: None | str
    """The cursor of the next page; null on the last page."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        tool_id = self.tool_id

        observed_since = self.observed_since.isoformat()

        items = []
        for items_item_data in self.items:
            items_item = items_item_data.to_dict()
            items.append(items_item)

        next_cursor: None | str
        next_cursor = self.next_cursor

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "tool_id": tool_id,
                "observed_since": observed_since,
                "items": items,
                "next_cursor": next_cursor,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.tool_grant import ToolGrant

        d = dict(src_dict)
        tool_id = d.pop("tool_id")

        observed_since = datetime.datetime.fromisoformat(d.pop("observed_since"))

        items = []
        _items = d.pop("items")
        for items_item_data in _items:
            items_item = ToolGrant.from_dict(items_item_data)

            items.append(items_item)

        def _parse_next_cursor(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        next_cursor = _parse_next_cursor(d.pop("next_cursor"))

        return cls(
            tool_id=tool_id,
            observed_since=observed_since,
            items=items,
            next_cursor=next_cursor,
        )
