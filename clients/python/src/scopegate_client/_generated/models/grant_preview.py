from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from attrs import define

if TYPE_CHECKING:
    from ..models.previewed_server import PreviewedServer
    from ..models.reaches import Reaches
    from ..models.selector_warning import SelectorWarning
    from ..models.tools_by_risk_counts import ToolsByRiskCounts


@define(kw_only=True)
class GrantPreview:
    """The reach of a grant among the current servers and tools, without scopes and policies."""

    reaches: Reaches
    """How much a selector or scope reaches now, without policies. Only a preview counts more than 10,000."""

    warnings: list[SelectorWarning]
    """Parts of the selectors that match nothing now."""

    risks: ToolsByRiskCounts
    """Number of tools by risk."""

    servers: list[PreviewedServer]
    """The first 100 servers, by slug."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        reaches = self.reaches.to_dict()

        warnings = []
        for warnings_item_data in self.warnings:
            warnings_item = warnings_item_data.to_dict()
            warnings.append(warnings_item)

        risks = self.risks.to_dict()

        servers = []
        for servers_item_data in self.servers:
            servers_item = servers_item_data.to_dict()
            servers.append(servers_item)

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "reaches": reaches,
                "warnings": warnings,
                "risks": risks,
                "servers": servers,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.previewed_server import PreviewedServer
        from ..models.reaches import Reaches
        from ..models.selector_warning import SelectorWarning
        from ..models.tools_by_risk_counts import ToolsByRiskCounts

        d = dict(src_dict)
        reaches = Reaches.from_dict(d.pop("reaches"))

        warnings = []
        _warnings = d.pop("warnings")
        for warnings_item_data in _warnings:
            warnings_item = SelectorWarning.from_dict(warnings_item_data)

            warnings.append(warnings_item)

        risks = ToolsByRiskCounts.from_dict(d.pop("risks"))

        servers = []
        _servers = d.pop("servers")
        for servers_item_data in _servers:
            servers_item = PreviewedServer.from_dict(servers_item_data)

            servers.append(servers_item)

        return cls(
            reaches=reaches,
            warnings=warnings,
            risks=risks,
            servers=servers,
        )
