from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from attrs import define

from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.all_servers import AllServers
    from ..models.all_tools import AllTools
    from ..models.servers_by_ids import ServersByIds
    from ..models.servers_by_labels import ServersByLabels
    from ..models.tools_by_names import ToolsByNames
    from ..models.tools_by_risk import ToolsByRisk


@define(kw_only=True)
class GrantUpdate:
    """The fields of a grant that can change; its principal cannot. A selector is replaced as a whole."""

    servers: AllServers | ServersByIds | ServersByLabels | Unset = UNSET
    """The servers: by id, by labels, or all."""

    tools: AllTools | ToolsByNames | ToolsByRisk | Unset = UNSET
    """The tools of the selected servers: all, by name, or by risk."""

    resources: bool | Unset = UNSET
    """Whether it reaches the servers' resources."""

    prompts: bool | Unset = UNSET
    """Whether it reaches the servers' prompts."""

    not_before: datetime.datetime | None | Unset = UNSET
    """When it starts; null: at its creation."""

    expires_at: datetime.datetime | None | Unset = UNSET
    """When it expires; null: it does not."""

    reason: None | str | Unset = UNSET
    """The reason for the grant."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        from ..models.all_tools import AllTools
        from ..models.servers_by_ids import ServersByIds
        from ..models.servers_by_labels import ServersByLabels
        from ..models.tools_by_names import ToolsByNames

        servers: dict[str, Any] | Unset
        if isinstance(self.servers, Unset):
            servers = UNSET
        elif isinstance(self.servers, ServersByIds):
            servers = self.servers.to_dict()
        elif isinstance(self.servers, ServersByLabels):
            servers = self.servers.to_dict()
        else:
            servers = self.servers.to_dict()

        tools: dict[str, Any] | Unset
        if isinstance(self.tools, Unset):
            tools = UNSET
        elif isinstance(self.tools, AllTools):
            tools = self.tools.to_dict()
        elif isinstance(self.tools, ToolsByNames):
            tools = self.tools.to_dict()
        else:
            tools = self.tools.to_dict()

        resources = self.resources

        prompts = self.prompts

        not_before: None | str | Unset
        if isinstance(self.not_before, Unset):
            not_before = UNSET
        elif isinstance(self.not_before, datetime.datetime):
            not_before = self.not_before.isoformat()
        else:
            not_before = self.not_before

        expires_at: None | str | Unset
        if isinstance(self.expires_at, Unset):
            expires_at = UNSET
        elif isinstance(self.expires_at, datetime.datetime):
            expires_at = self.expires_at.isoformat()
        else:
            expires_at = self.expires_at

        reason: None | str | Unset
        if isinstance(self.reason, Unset):
            reason = UNSET
        else:
            reason = self.reason

        field_dict: dict[str, Any] = {}
        field_dict.update({})
        if servers is not UNSET:
            field_dict["servers"] = servers
        if tools is not UNSET:
            field_dict["tools"] = tools
        if resources is not UNSET:
            field_dict["resources"] = resources
        if prompts is not UNSET:
            field_dict["prompts"] = prompts
        if not_before is not UNSET:
            field_dict["not_before"] = not_before
        if expires_at is not UNSET:
            field_dict["expires_at"] = expires_at
        if reason is not UNSET:
            field_dict["reason"] = reason
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.all_servers import AllServers
        from ..models.all_tools import AllTools
        from ..models.servers_by_ids import ServersByIds
        from ..models.servers_by_labels import ServersByLabels
        from ..models.tools_by_names import ToolsByNames
        from ..models.tools_by_risk import ToolsByRisk

        d = dict(src_dict)

        def _parse_servers(data: object) -> AllServers | ServersByIds | ServersByLabels | Unset:
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                componentsschemas_server_selector_type_0 = ServersByIds.from_dict(data)

                return componentsschemas_server_selector_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                componentsschemas_server_selector_type_1 = ServersByLabels.from_dict(data)

                return componentsschemas_server_selector_type_1
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            if not isinstance(data, dict):
                raise TypeError()
            componentsschemas_server_selector_type_2 = AllServers.from_dict(data)

            return componentsschemas_server_selector_type_2

        servers = _parse_servers(d.pop("servers", UNSET))

        def _parse_tools(data: object) -> AllTools | ToolsByNames | ToolsByRisk | Unset:
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
            if not isinstance(data, dict):
                raise TypeError()
            componentsschemas_tool_selector_type_2 = ToolsByRisk.from_dict(data)

            return componentsschemas_tool_selector_type_2

        tools = _parse_tools(d.pop("tools", UNSET))

        resources = d.pop("resources", UNSET)

        prompts = d.pop("prompts", UNSET)

        def _parse_not_before(data: object) -> datetime.datetime | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                not_before_type_0 = datetime.datetime.fromisoformat(data)

                return not_before_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None | Unset, data)

        not_before = _parse_not_before(d.pop("not_before", UNSET))

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

        def _parse_reason(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        reason = _parse_reason(d.pop("reason", UNSET))

        return cls(
            servers=servers,
            tools=tools,
            resources=resources,
            prompts=prompts,
            not_before=not_before,
            expires_at=expires_at,
            reason=reason,
        )
