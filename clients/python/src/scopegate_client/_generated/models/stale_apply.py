from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from attrs import define

if TYPE_CHECKING:
    from ..models.applied_proposal import AppliedProposal


@define(kw_only=True)
class StaleApply:
    """The proposals to apply, from a report for the same window."""

    unused_for_days: int
    """Length of the window, in days until now."""

    items: list[AppliedProposal]
    """The items of this page."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        unused_for_days = self.unused_for_days

        items = []
        for items_item_data in self.items:
            items_item = items_item_data.to_dict()
            items.append(items_item)

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "unused_for_days": unused_for_days,
                "items": items,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.applied_proposal import AppliedProposal

        d = dict(src_dict)
        unused_for_days = d.pop("unused_for_days")

        items = []
        _items = d.pop("items")
        for items_item_data in _items:
            items_item = AppliedProposal.from_dict(items_item_data)

            items.append(items_item)

        return cls(
            unused_for_days=unused_for_days,
            items=items,
        )
