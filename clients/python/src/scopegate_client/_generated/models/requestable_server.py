from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from attrs import define

if TYPE_CHECKING:
    from ..models.requestable_tool import RequestableTool


@define(kw_only=True)
class RequestableServer:
    """A server that can be requested."""

    id: str
    """The id of a server."""

    slug: str
    """Its slug."""

    name: str
    """Its display name."""

    description: None | str
    """What it is for."""

    tools: list[RequestableTool]
    """Its active tools, by name."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        id = self.id

        slug = self.slug

        name = self.name

        description: None | str
        description = self.description

        tools = []
        for tools_item_data in self.tools:
            tools_item = tools_item_data.to_dict()
            tools.append(tools_item)

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "id": id,
                "slug": slug,
                "name": name,
                "description": description,
                "tools": tools,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.requestable_tool import RequestableTool

        d = dict(src_dict)
        id = d.pop("id")

        slug = d.pop("slug")

        name = d.pop("name")

        def _parse_description(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        description = _parse_description(d.pop("description"))

        tools = []
        _tools = d.pop("tools")
        for tools_item_data in _tools:
            tools_item = RequestableTool.from_dict(tools_item_data)

            tools.append(tools_item)

        return cls(
            id=id,
            slug=slug,
            name=name,
            description=description,
            tools=tools,
        )
