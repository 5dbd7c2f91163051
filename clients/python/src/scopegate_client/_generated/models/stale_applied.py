from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from attrs import define

if TYPE_CHECKING:
    from ..models.applied import Applied


@define(kw_only=True)
class StaleApplied:
    """The outcome for each proposal, in the order of the request."""

    dry_run: bool
    """Whether this is only a preview and nothing was changed."""

    items: list[Applied]
    """One for each proposal in the request."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        dry_run = self.dry_run

        items = []
        for items_item_data in self.items:
            items_item = items_item_data.to_dict()
            items.append(items_item)

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "dry_run": dry_run,
                "items": items,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.applied import Applied

        d = dict(src_dict)
        dry_run = d.pop("dry_run")

        items = []
        _items = d.pop("items")
        for items_item_data in _items:
            items_item = Applied.from_dict(items_item_data)

            items.append(items_item)

        return cls(
            dry_run=dry_run,
            items=items,
        )
