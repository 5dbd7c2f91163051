from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from attrs import define

if TYPE_CHECKING:
    from ..models.previewed_server import PreviewedServer
    from ..models.tools_by_risk_counts import ToolsByRiskCounts


@define(kw_only=True)
class GrantPreview:
    """What a grant would reach of the servers and tools that there are now, apart from scopes and
    policies."""

    servers_count: int
    """How many servers."""

    tools_count: int
    """How many tools of them."""

    risks: ToolsByRiskCounts
    """How many tools of each risk."""

    servers: list[PreviewedServer]
    """The first 100 servers, by slug."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        servers_count = self.servers_count

        tools_count = self.tools_count

        risks = self.risks.to_dict()

        servers = []
        for servers_item_data in self.servers:
            servers_item = servers_item_data.to_dict()
            servers.append(servers_item)

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "servers_count": servers_count,
                "tools_count": tools_count,
                "risks": risks,
                "servers": servers,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.previewed_server import PreviewedServer
        from ..models.tools_by_risk_counts import ToolsByRiskCounts

        d = dict(src_dict)
        servers_count = d.pop("servers_count")

        tools_count = d.pop("tools_count")

        risks = ToolsByRiskCounts.from_dict(d.pop("risks"))

        servers = []
        _servers = d.pop("servers")
        for servers_item_data in _servers:
            servers_item = PreviewedServer.from_dict(servers_item_data)

            servers.append(servers_item)

        return cls(
            servers_count=servers_count,
            tools_count=tools_count,
            risks=risks,
            servers=servers,
        )
