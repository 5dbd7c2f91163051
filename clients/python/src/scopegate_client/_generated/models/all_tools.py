from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self, cast

from attrs import define


@define(kw_only=True)
class AllTools:
    """All tools of the selected servers."""

    kind: Literal["all"] = "all"

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        kind = self.kind

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "kind": kind,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        kind = cast(Literal["all"], d.pop("kind"))
        if kind != "all":
            raise ValueError(f"kind must match const 'all', got '{kind}'")

        return cls(
            kind=kind,
        )
