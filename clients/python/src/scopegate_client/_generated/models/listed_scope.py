from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Self, cast

from attrs import define

if TYPE_CHECKING:
    from ..models.scope_entry import ScopeEntry


@define(kw_only=True)
class ListedScope:
    """These entries, limited to what the current grants allow; an empty list allows nothing."""

    kind: Literal["listed"] = "listed"

    entries: list[ScopeEntry]
    """The entries; the scope is their union."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        kind = self.kind

        entries = []
        for entries_item_data in self.entries:
            entries_item = entries_item_data.to_dict()
            entries.append(entries_item)

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "kind": kind,
                "entries": entries,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.scope_entry import ScopeEntry

        d = dict(src_dict)
        kind = cast(Literal["listed"], d.pop("kind"))
        if kind != "listed":
            raise ValueError(f"kind must match const 'listed', got '{kind}'")

        entries = []
        _entries = d.pop("entries")
        for entries_item_data in _entries:
            entries_item = ScopeEntry.from_dict(entries_item_data)

            entries.append(entries_item)

        return cls(
            kind=kind,
            entries=entries,
        )
