from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from attrs import define


@define(kw_only=True)
class AuditLogKey:
    """A public key for checkpoint signatures."""

    vkey: str
    """The key in the format of C2SP's signed-note: log name, key id, and key."""

    signs: bool
    """Whether it signs new checkpoints; the others only verify older ones."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        vkey = self.vkey

        signs = self.signs

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "vkey": vkey,
                "signs": signs,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        vkey = d.pop("vkey")

        signs = d.pop("signs")

        return cls(
            vkey=vkey,
            signs=signs,
        )
