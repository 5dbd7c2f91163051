from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from attrs import define


@define(kw_only=True)
class NotReplayable:
    """Calls that could not be decided again."""

    calls: int
    """All of them."""

    arguments_not_kept: int
    """Of these, calls with arguments that a policy reads, but were not kept or you may not read."""

    gone: int
    """Of these, calls of a server or tool that no longer exists."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        calls = self.calls

        arguments_not_kept = self.arguments_not_kept

        gone = self.gone

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "calls": calls,
                "arguments_not_kept": arguments_not_kept,
                "gone": gone,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        calls = d.pop("calls")

        arguments_not_kept = d.pop("arguments_not_kept")

        gone = d.pop("gone")

        return cls(
            calls=calls,
            arguments_not_kept=arguments_not_kept,
            gone=gone,
        )
