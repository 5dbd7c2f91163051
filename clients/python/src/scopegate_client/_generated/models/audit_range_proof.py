from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, cast

from attrs import define


@define(kw_only=True)
class AuditRangeProof:
    """The hashes that connect the leaves of a range to the root of a checkpoint, left to right.

    Saved as a file, it is the input of `scopegate audit verify --proof` for exported leaves."""

    from_: int
    """The position of the first leaf."""

    to: int
    """The position after that of the last leaf."""

    checkpoint: str
    """The signed note of a checkpoint, in the format of C2SP's tlog-checkpoint."""

    hashes: list[str]
    """The proof, left to right."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        from_ = self.from_

        to = self.to

        checkpoint = self.checkpoint

        hashes = self.hashes

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "from": from_,
                "to": to,
                "checkpoint": checkpoint,
                "hashes": hashes,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        from_ = d.pop("from")

        to = d.pop("to")

        checkpoint = d.pop("checkpoint")

        hashes = cast(list[str], d.pop("hashes"))

        return cls(
            from_=from_,
            to=to,
            checkpoint=checkpoint,
            hashes=hashes,
        )
