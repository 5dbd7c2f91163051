from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from attrs import define

if TYPE_CHECKING:
    from ..models.access_matrix_row import AccessMatrixRow


@define(kw_only=True)
class AccessMatrix:
    """Effective access of identities to servers. Identities and servers that do not exist are left out."""

    at: datetime.datetime
    """The time of the answer, by the database's clock."""

    items: list[AccessMatrixRow]
    """In the order of the requested identities."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        at = self.at.isoformat()

        items = []
        for items_item_data in self.items:
            items_item = items_item_data.to_dict()
            items.append(items_item)

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "at": at,
                "items": items,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.access_matrix_row import AccessMatrixRow

        d = dict(src_dict)
        at = datetime.datetime.fromisoformat(d.pop("at"))

        items = []
        _items = d.pop("items")
        for items_item_data in _items:
            items_item = AccessMatrixRow.from_dict(items_item_data)

            items.append(items_item)

        return cls(
            at=at,
            items=items,
        )
