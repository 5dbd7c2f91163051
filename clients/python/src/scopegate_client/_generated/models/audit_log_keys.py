from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from attrs import define

if TYPE_CHECKING:
    from ..models.audit_log_key import AuditLogKey


@define(kw_only=True)
class AuditLogKeys:
    """The name of the log in its checkpoints, and its keys."""

    origin: str
    """The name of the log."""

    items: list[AuditLogKey]
    """Its keys, newest first."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        origin = self.origin

        items = []
        for items_item_data in self.items:
            items_item = items_item_data.to_dict()
            items.append(items_item)

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "origin": origin,
                "items": items,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.audit_log_key import AuditLogKey

        d = dict(src_dict)
        origin = d.pop("origin")

        items = []
        _items = d.pop("items")
        for items_item_data in _items:
            items_item = AuditLogKey.from_dict(items_item_data)

            items.append(items_item)

        return cls(
            origin=origin,
            items=items,
        )
