from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from attrs import define


@define(kw_only=True)
class Reaches:
    """How much a selector or scope reaches now, without policies. Only a preview counts more than 10,000."""

    servers: int
    """How many servers."""

    tools: int
    """Number of active tools on them."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        servers = self.servers

        tools = self.tools

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "servers": servers,
                "tools": tools,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        servers = d.pop("servers")

        tools = d.pop("tools")

        return cls(
            servers=servers,
            tools=tools,
        )
