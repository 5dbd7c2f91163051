from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from attrs import define

from ..types import UNSET, Unset


@define(kw_only=True)
class TokenRotate:
    """How long the old secrets still work after the new one is created."""

    overlap_s: int | Unset = 0
    """Seconds that earlier secrets still work."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        overlap_s = self.overlap_s

        field_dict: dict[str, Any] = {}
        field_dict.update({})
        if overlap_s is not UNSET:
            field_dict["overlap_s"] = overlap_s
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        overlap_s = d.pop("overlap_s", UNSET)

        return cls(
            overlap_s=overlap_s,
        )
