from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from attrs import define


@define(kw_only=True)
class AccessMatrixCell:
    """How much of a server an identity reaches now. A token can only narrow this."""

    server_id: str
    """The id of a server."""

    reached: bool
    """Whether the server is within reach, even without an active tool."""

    tools: int
    """How many of its tools can be called, including those that need an approval."""

    approval_required: int
    """Of those, how many need an approval for each call."""

    destructive: int
    """Of those, how many are destructive."""

    is_whole: bool
    """Whether all of its tools were checked. A large matrix checks only the first of many, by name."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        server_id = self.server_id

        reached = self.reached

        tools = self.tools

        approval_required = self.approval_required

        destructive = self.destructive

        is_whole = self.is_whole

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "server_id": server_id,
                "reached": reached,
                "tools": tools,
                "approval_required": approval_required,
                "destructive": destructive,
                "is_whole": is_whole,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        server_id = d.pop("server_id")

        reached = d.pop("reached")

        tools = d.pop("tools")

        approval_required = d.pop("approval_required")

        destructive = d.pop("destructive")

        is_whole = d.pop("is_whole")

        return cls(
            server_id=server_id,
            reached=reached,
            tools=tools,
            approval_required=approval_required,
            destructive=destructive,
            is_whole=is_whole,
        )
