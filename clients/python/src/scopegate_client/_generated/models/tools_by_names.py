from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self, cast

from attrs import define


@define(kw_only=True)
class ToolsByNames:
    """The tools with these names; none if the list is empty."""

    kind: Literal["names"] = "names"

    names: list[str]
    """The names, as the servers give them."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        kind = self.kind

        names = self.names

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "kind": kind,
                "names": names,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        kind = cast(Literal["names"], d.pop("kind"))
        if kind != "names":
            raise ValueError(f"kind must match const 'names', got '{kind}'")

        names = cast(list[str], d.pop("names"))

        return cls(
            kind=kind,
            names=names,
        )
