from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from attrs import define

if TYPE_CHECKING:
    from ..models.reached_server import ReachedServer


@define(kw_only=True)
class IdentityAccess:
    """The servers and tools that an identity reaches at a given time. If nothing, `stopped` has the
    reason."""

    identity_id: str
    """The id of an identity."""

    at: datetime.datetime
    """The time that the answer is for, by the database's clock."""

    stopped: None | str
    """Why none of its grants is effective: `identity_suspended`, `identity_offboarded`, or, for an agent,
    `owner_suspended`, `owner_offboarded`. Null when they are."""

    items: list[ReachedServer]
    """The servers of this page, by slug."""

    next_cursor: None | str
    """The cursor of the next page; null on the last page."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        identity_id = self.identity_id

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
                "identity_id": identity_id,
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
        from ..models.reached_server import ReachedServer

        d = dict(src_dict)
        identity_id = d.pop("identity_id")

        at = datetime.datetime.fromisoformat(d.pop("at"))

        def _parse_stopped(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        stopped = _parse_stopped(d.pop("stopped"))

        items = []
        _items = d.pop("items")
        for items_item_data in _items:
            items_item = ReachedServer.from_dict(items_item_data)

            items.append(items_item)

        def _parse_next_cursor(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        next_cursor = _parse_next_cursor(d.pop("next_cursor"))

        return cls(
            identity_id=identity_id,
            at=at,
            stopped=stopped,
            items=items,
            next_cursor=next_cursor,
        )
