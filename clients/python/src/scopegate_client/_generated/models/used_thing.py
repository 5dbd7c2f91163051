from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, Self, cast

from attrs import define

from ..models.used_part import UsedPart, check_used_part


@define(kw_only=True)
class UsedThing:
    """A tool, or resources or prompts of a server, used in the window."""

    server_id: str
    """The id of a server."""

    part: UsedPart
    """What of a server was used: one of its tools, or its resources or prompts."""

    tool: None | str
    """The tool, by its name on the server; null for another part."""

    last_used_at: datetime.datetime
    """When it was last used, accurate to about a minute."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        server_id = self.server_id

        part: str = self.part

        tool: None | str
        tool = self.tool

        last_used_at = self.last_used_at.isoformat()

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "server_id": server_id,
                "part": part,
                "tool": tool,
                "last_used_at": last_used_at,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        server_id = d.pop("server_id")

        part = check_used_part(d.pop("part"))

        def _parse_tool(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        tool = _parse_tool(d.pop("tool"))

        last_used_at = datetime.datetime.fromisoformat(d.pop("last_used_at"))

        return cls(
            server_id=server_id,
            part=part,
            tool=tool,
            last_used_at=last_used_at,
        )
