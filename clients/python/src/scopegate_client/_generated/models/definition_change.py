from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from attrs import define

from ..models.change_kind import ChangeKind, check_change_kind


@define(kw_only=True)
class DefinitionChange:
    """One difference between two definitions."""

    kind: ChangeKind
    """The change of the member."""

    pointer: str
    """Its place in the definition, as a JSON Pointer (RFC 6901)."""

    before: Any
    """The approved value; null when there was none."""

    after: Any
    """The pending value; null when it was removed."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        kind: str = self.kind

        pointer = self.pointer

        before = self.before

        after = self.after

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "kind": kind,
                "pointer": pointer,
                "before": before,
                "after": after,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        kind = check_change_kind(d.pop("kind"))

        pointer = d.pop("pointer")

        before = d.pop("before")

        after = d.pop("after")

        return cls(
            kind=kind,
            pointer=pointer,
            before=before,
            after=after,
        )
