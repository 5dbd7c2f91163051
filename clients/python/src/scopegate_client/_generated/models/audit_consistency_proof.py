from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, cast

from attrs import define


@define(kw_only=True)
class AuditConsistencyProof:
    """A proof that a log extends an older one (RFC 9162 section 2.1.4)."""

    old_size: int
    """Number of events of the older log."""

    tree_size: int
    """Number of events of the log."""

    checkpoint: str
    """The signed note of a checkpoint, in the format of C2SP's tlog-checkpoint."""

    hashes: list[str]
    """The proof, from the leaves up."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        old_size = self.old_size

        tree_size = self.tree_size

        checkpoint = self.checkpoint

        hashes = self.hashes

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "old_size": old_size,
                "tree_size": tree_size,
                "checkpoint": checkpoint,
                "hashes": hashes,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        old_size = d.pop("old_size")

        tree_size = d.pop("tree_size")

        checkpoint = d.pop("checkpoint")

        hashes = cast(list[str], d.pop("hashes"))

        return cls(
            old_size=old_size,
            tree_size=tree_size,
            checkpoint=checkpoint,
            hashes=hashes,
        )
