from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, cast

from attrs import define


@define(kw_only=True)
class AuditEventProof:
    """That the log of a checkpoint has an event (RFC 9162 section 2.1.3).

    As a file it is what `scopegate audit verify --proof` takes."""

    event_id: str
    """The id of an audit event."""

    position: int
    """Where the event is in the log, from 0."""

    leaf: str
    """What was sealed of it: the stored row as one line of JSON, whose bytes are hashed."""

    leaf_hash: str
    """A hash of the log's tree (RFC 9162 section 2.1), in hex."""

    tree_size: int
    """How many events the checkpoint seals."""

    checkpoint: str
    """The signed note of a checkpoint, as C2SP's tlog-checkpoint has it."""

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
