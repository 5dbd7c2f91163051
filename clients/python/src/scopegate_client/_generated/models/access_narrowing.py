from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from attrs import define

from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.all_tools import AllTools
    from ..models.tools_by_names import ToolsByNames
    from ..models.tools_by_risk import ToolsByRisk


@define(kw_only=True)
class AccessNarrowing:
    """Less than the requested access. Absent fields stay as requested."""

    tools: AllTools | None | ToolsByNames | ToolsByRisk | Unset = UNSET
    """Which of the requested tools."""

    expires_at: datetime.datetime | None | Unset = UNSET
    """An earlier end."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        from ..models.all_tools import AllTools
        from ..models.tools_by_names import ToolsByNames
        from ..models.tools_by_risk import ToolsByRisk

        tools: dict[str, Any] | None | Unset
        if isinstance(self.tools, Unset):
            tools = UNSET
        elif isinstance(self.tools, AllTools):
            tools = self.tools.to_dict()
        elif isinstance(self.tools, ToolsByNames):
            tools = self.tools.to_dict()
        elif isinstance(self.tools, ToolsByRisk):
            tools = self.tools.to_dict()
        else:
            tools = self.tools

        expires_at: None | str | Unset
        if isinstance(self.expires_at, Unset):
            expires_at = UNSET
        elif isinstance(self.expires_at, datetime.datetime):
            expires_at = self.expires_at.isoformat()
        else:
            expires_at = self.expires_at

        field_dict: dict[str, Any] = {}
        field_dict.update({})
        if tools is not UNSET:
            field_dict["tools"] = tools
        if expires_at is not UNSET:
            field_dict["expires_at"] = expires_at
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.all_tools import AllTools
        from ..models.tools_by_names import ToolsByNames
        from ..models.tools_by_risk import ToolsByRisk

        d = dict(src_dict)

        def _parse_tools(data: object) -> AllTools | None | ToolsByNames | ToolsByRisk | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                componentsschemas_tool_selector_type_0 = AllTools.from_dict(data)

                return componentsschemas_tool_selector_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                componentsschemas_tool_selector_type_1 = ToolsByNames.from_dict(data)

                return componentsschemas_tool_selector_type_1
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                componentsschemas_tool_selector_type_2 = ToolsByRisk.from_dict(data)

                return componentsschemas_tool_selector_type_2
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(AllTools | None | ToolsByNames | ToolsByRisk | Unset, data)

        tools = _parse_tools(d.pop("tools", UNSET))

        def _parse_expires_at(data: object) -> datetime.datetime | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                expires_at_type_0 = datetime.datetime.fromisoformat(data)

                return expires_at_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None | Unset, data)

        expires_at = _parse_expires_at(d.pop("expires_at", UNSET))

        return cls(
            tools=tools,
            expires_at=expires_at,
        )
