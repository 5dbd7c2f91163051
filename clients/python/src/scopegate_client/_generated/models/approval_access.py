from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from attrs import define

if TYPE_CHECKING:
    from ..models.access_given import AccessGiven
    from ..models.all_tools import AllTools
    from ..models.tools_by_names import ToolsByNames
    from ..models.tools_by_risk import ToolsByRisk


@define(kw_only=True)
class ApprovalAccess:
    """The requested access."""

    tools: AllTools | ToolsByNames | ToolsByRisk
    """The tools of the selected servers: all, by name, or by risk."""

    expires_at: datetime.datetime
    """The requested expiry."""

    granted: AccessGiven | None
    """The granted access; null unless approved."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        from ..models.access_given import AccessGiven
        from ..models.all_tools import AllTools
        from ..models.tools_by_names import ToolsByNames

        tools: dict[str, Any]
        if isinstance(self.tools, AllTools):
            tools = self.tools.to_dict()
        elif isinstance(self.tools, ToolsByNames):
            tools = self.tools.to_dict()
        else:
            tools = self.tools.to_dict()

        expires_at = self.expires_at.isoformat()

        granted: dict[str, Any] | None
        if isinstance(self.granted, AccessGiven):
            granted = self.granted.to_dict()
        else:
            granted = self.granted

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "tools": tools,
                "expires_at": expires_at,
                "granted": granted,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.access_given import AccessGiven
        from ..models.all_tools import AllTools
        from ..models.tools_by_names import ToolsByNames
        from ..models.tools_by_risk import ToolsByRisk

        d = dict(src_dict)

        def _parse_tools(data: object) -> AllTools | ToolsByNames | ToolsByRisk:
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
            if not isinstance(data, dict):
                raise TypeError()
            componentsschemas_tool_selector_type_2 = ToolsByRisk.from_dict(data)

            return componentsschemas_tool_selector_type_2

        tools = _parse_tools(d.pop("tools"))

        expires_at = datetime.datetime.fromisoformat(d.pop("expires_at"))

        def _parse_granted(data: object) -> AccessGiven | None:
            if data is None:
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                granted_type_0 = AccessGiven.from_dict(data)

                return granted_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(AccessGiven | None, data)

        granted = _parse_granted(d.pop("granted"))

        return cls(
            tools=tools,
            expires_at=expires_at,
            granted=granted,
        )
