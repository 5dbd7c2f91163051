from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from attrs import define

if TYPE_CHECKING:
    from ..models.previewed_tool import PreviewedTool


@define(kw_only=True)
class PreviewedServer:
    """A server that the grant would reach."""

    server_id: str
    """The id of a server."""

    slug: str
    """Its name in URLs and tool names."""

    enabled: bool
    """Whether the server accepts calls now."""

    tool_count: int
    """Number of its tools that the grant would reach."""

    tools: list[PreviewedTool]
    """The first 100 of them, by name."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        server_id = self.server_id

        slug = self.slug

        enabled = self.enabled

        tool_count = self.tool_count

        tools = []
        for tools_item_data in self.tools:
            tools_item = tools_item_data.to_dict()
            tools.append(tools_item)

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "server_id": server_id,
                "slug": slug,
                "enabled": enabled,
                "tool_count": tool_count,
                "tools": tools,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.previewed_tool import PreviewedTool

        d = dict(src_dict)
        server_id = d.pop("server_id")

        slug = d.pop("slug")

        enabled = d.pop("enabled")

        tool_count = d.pop("tool_count")

        tools = []
        _tools = d.pop("tools")
        for tools_item_data in _tools:
            tools_item = PreviewedTool.from_dict(tools_item_data)

            tools.append(tools_item)

        return cls(
            server_id=server_id,
            slug=slug,
            enabled=enabled,
            tool_count=tool_count,
            tools=tools,
        )
