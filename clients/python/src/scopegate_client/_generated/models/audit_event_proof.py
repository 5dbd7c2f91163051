from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, cast

from attrs import define


@define(kw_only=True)
class AuditEventProof:
    """A proof that the log of a checkpoint contains an event (RFC 9162 section 2.1.3).

    Saved as a file, it is the input of `scopegate audit verify --proof`."""

    event_id: str
    """The id of an audit event."""

    position: int
    """The position of the event in the log, from 0."""

    leaf: str
    """The sealed content: the stored row as one line of JSON, whose bytes are hashed."""

    leaf_hash: str
    """A hash of the log's tree (RFC 9162 section 2.1), in hex."""

    tree_size: int
    """Number of events that the checkpoint seals."""

    checkpoint: str
    """The signed note of a checkpoint, in the format of C2SP's tlog-checkpoint."""

    hashes: list[str]
    """The proof, from the leaf up."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        event_id = self.event_id

        position = self.position

        leaf = self.leaf

        leaf_hash = self.leaf_hash

        tree_size = self.tree_size

        checkpoint = self.checkpoint

        hashes = self.hashes

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "event_id": event_id,
                "position": position,
                "leaf": leaf,
                "leaf_hash": leaf_hash,
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
        event_id = d.pop("event_id")

        position = d.pop("position")

        leaf = d.pop("leaf")

        leaf_hash = d.pop("leaf_hash")

        tree_size = d.pop("tree_size")

        checkpoint = d.pop("checkpoint")

        hashes = cast(list[str], d.pop("hashes"))

        return cls(
            event_id=event_id,
            position=position,
            leaf=leaf,
            leaf_hash=leaf_hash,
            tree_size=tree_size,
            checkpoint=checkpoint,
            hashes=hashes,
        )
