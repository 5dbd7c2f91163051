from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Self, cast

from attrs import define

from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.all_tools import AllTools
    from ..models.tools_by_names import ToolsByNames
    from ..models.tools_by_risk import ToolsByRisk


@define(kw_only=True)
class AccessRequest:
    """A request for access to a requestable server, for yourself or for an agent that you own."""

    kind: Literal["access"] = "access"

    server: str
    """The slug or the id of the server."""

    tools: AllTools | ToolsByNames | ToolsByRisk
    """The tools of the selected servers: all, by name, or by risk."""

    expires_at: datetime.datetime
    """When the access should expire: at most a year from now."""

    reason: str
    """The reason, for the people who decide."""

    identity_id: None | str | Unset = UNSET
    """Your agent that needs it; yourself by default."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        from ..models.all_tools import AllTools
        from ..models.tools_by_names import ToolsByNames

        kind = self.kind

        server = self.server

        tools: dict[str, Any]
        if isinstance(self.tools, AllTools):
            tools = self.tools.to_dict()
        elif isinstance(self.tools, ToolsByNames):
            tools = self.tools.to_dict()
        else:
            tools = self.tools.to_dict()

        expires_at = self.expires_at.isoformat()

        reason = self.reason

        identity_id: None | str | Unset
        if isinstance(self.identity_id, Unset):
            identity_id = UNSET
        else:
            identity_id = self.identity_id

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "kind": kind,
                "server": server,
                "tools": tools,
                "expires_at": expires_at,
                "reason": reason,
            }
        )
        if identity_id is not UNSET:
            field_dict["identity_id"] = identity_id
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.all_tools import AllTools
        from ..models.tools_by_names import ToolsByNames
        from ..models.tools_by_risk import ToolsByRisk

        d = dict(src_dict)
        kind = cast(Literal["access"], d.pop("kind"))
        if kind != "access":
            raise ValueError(f"kind must match const 'access', got '{kind}'")

        server = d.pop("server")

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

        reason = d.pop("reason")

        def _parse_identity_id(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        identity_id = _parse_identity_id(d.pop("identity_id", UNSET))

        return cls(
            kind=kind,
            server=server,
            tools=tools,
            expires_at=expires_at,
            reason=reason,
            identity_id=identity_id,
        )
