from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from attrs import define


@define(kw_only=True)
class AuditLogKey:
    """A public key to check signatures of checkpoints with."""

    vkey: str
    """The key as C2SP's signed-note has it: the log's name, the key's id, and the key."""

    signs: bool
    """Whether it is the one that signs now; others check what they once signed."""

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
