from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from attrs import define


@define(kw_only=True)
class UnusedTool:
    """A tool within reach that was not used in the window."""

    server_id: str
    """The id of a server."""

    tool: str
    """Its name on the server."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        server_id = self.server_id

        tool = self.tool

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "server_id": server_id,
                "tool": tool,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        server_id = d.pop("server_id")

        tool = d.pop("tool")

        return cls(
            server_id=server_id,
            tool=tool,
        )
