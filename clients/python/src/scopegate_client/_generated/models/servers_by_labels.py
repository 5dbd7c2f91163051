from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Self, cast

from attrs import define

if TYPE_CHECKING:
    from ..models.labels import Labels


@define(kw_only=True)
class ServersByLabels:
    """The servers that have all of these labels; none if the map is empty."""

    kind: Literal["labels"] = "labels"

    labels: Labels
    """Labels by key."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        kind = self.kind

        labels = self.labels.to_dict()

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "kind": kind,
                "labels": labels,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.labels import Labels

        d = dict(src_dict)
        kind = cast(Literal["labels"], d.pop("kind"))
        if kind != "labels":
            raise ValueError(f"kind must match const 'labels', got '{kind}'")

        labels = Labels.from_dict(d.pop("labels"))

        return cls(
            kind=kind,
            labels=labels,
        )
