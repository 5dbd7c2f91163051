from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, Self

from attrs import define


@define(kw_only=True)
class AuditCheckpoint:
    """A signed root over all events sealed so far. Keep some checkpoints where no insider can change them."""

    tree_size: int
    """Number of events that it seals: those at lower positions."""

    epoch: int
    """The epoch of the last of them."""

    root_hash: str
    """A hash of the log's tree (RFC 9162 section 2.1), in hex."""

    note: str
    """The signed note of a checkpoint, in the format of C2SP's tlog-checkpoint."""

    created_at: datetime.datetime
    """When it was signed."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        tree_size = self.tree_size

        epoch = self.epoch

        root_hash = self.root_hash

        note = self.note

        created_at = self.created_at.isoformat()

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "tree_size": tree_size,
                "epoch": epoch,
                "root_hash": root_hash,
                "note": note,
                "created_at": created_at,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        tree_size = d.pop("tree_size")

        epoch = d.pop("epoch")

        root_hash = d.pop("root_hash")

        note = d.pop("note")

        created_at = datetime.datetime.fromisoformat(d.pop("created_at"))

        return cls(
            tree_size=tree_size,
            epoch=epoch,
            root_hash=root_hash,
            note=note,
            created_at=created_at,
        )
