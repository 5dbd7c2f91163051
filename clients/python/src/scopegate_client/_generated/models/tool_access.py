from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from attrs import define

if TYPE_CHECKING:
    from ..models.tool_caller import ToolCaller


@define(kw_only=True)
class ToolAccess:
    """Who can call a tool at a given time. If no one can, regardless of grants, `stopped` has the reason."""

    tool_id: str
    """The id of a tool."""

    at: datetime.datetime
    """The time that the answer is for, by the database's clock."""

    stopped: None | str
    """Why no one can call it: `server_disabled`, `server_unknown`, `tool_quarantined` or `tool_unknown`.
    Null otherwise."""

    items: list[ToolCaller]
    """The identities of this page, newest first."""

    next_cursor: None | str
    """The cursor of the next page; null on the last page."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        tool_id = self.tool_id

        at = self.at.isoformat()

        stopped: None | str
        stopped = self.stopped

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
                "at": at,
                "stopped": stopped,
                "items": items,
                "next_cursor": next_cursor,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.tool_caller import ToolCaller

        d = dict(src_dict)
        tool_id = d.pop("tool_id")

        at = datetime.datetime.fromisoformat(d.pop("at"))

        def _parse_stopped(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        stopped = _parse_stopped(d.pop("stopped"))

        items = []
        _items = d.pop("items")
        for items_item_data in _items:
            items_item = ToolCaller.from_dict(items_item_data)

            items.append(items_item)

        def _parse_next_cursor(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        next_cursor = _parse_next_cursor(d.pop("next_cursor"))

        return cls(
            tool_id=tool_id,
            at=at,
            stopped=stopped,
            items=items,
            next_cursor=next_cursor,
        )
