from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self, cast

from attrs import define


@define(kw_only=True)
class ServersByIds:
    """The servers with these ids; none if the list is empty."""

    kind: Literal["ids"] = "ids"

    ids: list[str]
    """The servers."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        kind = self.kind

        ids = self.ids

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "kind": kind,
                "ids": ids,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        kind = cast(Literal["ids"], d.pop("kind"))
        if kind != "ids":
            raise ValueError(f"kind must match const 'ids', got '{kind}'")

        ids = cast(list[str], d.pop("ids"))

        return cls(
            kind=kind,
            ids=ids,
        )
