from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from attrs import define

if TYPE_CHECKING:
    from ..models.stale_grant import StaleGrant
    from ..models.stale_token import StaleToken


@define(kw_only=True)
class StaleAccessPage:
    """One page of a list."""

    items: list[StaleGrant | StaleToken]
    """The items of this page."""

    next_cursor: None | str
    """The cursor of the next page; null on the last page."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        from ..models.stale_grant import StaleGrant

        items = []
        for items_item_data in self.items:
            items_item: dict[str, Any]
            if isinstance(items_item_data, StaleGrant):
                items_item = items_item_data.to_dict()
            else:
                items_item = items_item_data.to_dict()

            items.append(items_item)

        next_cursor: None | str
        next_cursor = self.next_cursor

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "items": items,
                "next_cursor": next_cursor,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.stale_grant import StaleGrant
        from ..models.stale_token import StaleToken

        d = dict(src_dict)
        items = []
        _items = d.pop("items")
        for items_item_data in _items:

            def _parse_items_item(data: object) -> StaleGrant | StaleToken:
                try:
                    if not isinstance(data, dict):
                        raise TypeError()
                    componentsschemas_stale_access_type_0 = StaleGrant.from_dict(data)

                    return componentsschemas_stale_access_type_0
                except (TypeError, ValueError, AttributeError, KeyError):
                    pass
                if not isinstance(data, dict):
                    raise TypeError()
                componentsschemas_stale_access_type_1 = StaleToken.from_dict(data)

                return componentsschemas_stale_access_type_1

            items_item = _parse_items_item(items_item_data)

            items.append(items_item)

        def _parse_next_cursor(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        next_cursor = _parse_next_cursor(d.pop("next_cursor"))

        return cls(
            items=items,
            next_cursor=next_cursor,
        )
