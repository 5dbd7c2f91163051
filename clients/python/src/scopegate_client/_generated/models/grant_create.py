from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from attrs import define

from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.all_servers import AllServers
    from ..models.all_tools import AllTools
    from ..models.group_principal import GroupPrincipal
    from ..models.identity_principal import IdentityPrincipal
    from ..models.servers_by_ids import ServersByIds
    from ..models.servers_by_labels import ServersByLabels
    from ..models.tools_by_names import ToolsByNames
    from ..models.tools_by_risk import ToolsByRisk


@define(kw_only=True)
class GrantCreate:
    """A durable entitlement: a principal, servers and tools, and an expiry."""

    principal: GroupPrincipal | IdentityPrincipal
    """The holder of the grant: an identity, or the members of a group."""

    servers: AllServers | ServersByIds | ServersByLabels
    """The servers: by id, by labels, or all."""

    tools: AllTools | ToolsByNames | ToolsByRisk
    """The tools of the selected servers: all, by name, or by risk."""

    resources: bool | None | Unset = UNSET
    """Reaches the servers' resources; by default true when the tools are all."""

    prompts: bool | None | Unset = UNSET
    """Reaches the servers' prompts; by default true when the tools are all."""

    not_before: datetime.datetime | None | Unset = UNSET
    """When it starts; null: at its creation."""

    expires_at: datetime.datetime | None | Unset = UNSET
    """When it expires; null: it does not."""

    reason: None | str | Unset = UNSET
    """The reason for the grant."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        from ..models.all_tools import AllTools
        from ..models.identity_principal import IdentityPrincipal
        from ..models.servers_by_ids import ServersByIds
        from ..models.servers_by_labels import ServersByLabels
        from ..models.tools_by_names import ToolsByNames

        principal: dict[str, Any]
        if isinstance(self.principal, IdentityPrincipal):
            principal = self.principal.to_dict()
        else:
            principal = self.principal.to_dict()

        servers: dict[str, Any]
        if isinstance(self.servers, ServersByIds):
            servers = self.servers.to_dict()
        elif isinstance(self.servers, ServersByLabels):
            servers = self.servers.to_dict()
        else:
            servers = self.servers.to_dict()

        tools: dict[str, Any]
        if isinstance(self.tools, AllTools):
            tools = self.tools.to_dict()
        elif isinstance(self.tools, ToolsByNames):
            tools = self.tools.to_dict()
        else:
            tools = self.tools.to_dict()

        resources: bool | None | Unset
        if isinstance(self.resources, Unset):
            resources = UNSET
        else:
            resources = self.resources

        prompts: bool | None | Unset
        if isinstance(self.prompts, Unset):
            prompts = UNSET
        else:
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
        field_dict.update(
            {
                "principal": principal,
                "servers": servers,
                "tools": tools,
            }
        )
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
        from ..models.group_principal import GroupPrincipal
        from ..models.identity_principal import IdentityPrincipal
        from ..models.servers_by_ids import ServersByIds
        from ..models.servers_by_labels import ServersByLabels
        from ..models.tools_by_names import ToolsByNames
        from ..models.tools_by_risk import ToolsByRisk

        d = dict(src_dict)

        def _parse_principal(data: object) -> GroupPrincipal | IdentityPrincipal:
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                componentsschemas_principal_type_0 = IdentityPrincipal.from_dict(data)

                return componentsschemas_principal_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            if not isinstance(data, dict):
                raise TypeError()
            componentsschemas_principal_type_1 = GroupPrincipal.from_dict(data)

            return componentsschemas_principal_type_1

        principal = _parse_principal(d.pop("principal"))

        def _parse_servers(data: object) -> AllServers | ServersByIds | ServersByLabels:
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

        servers = _parse_servers(d.pop("servers"))

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

        def _parse_resources(data: object) -> bool | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(bool | None | Unset, data)

        resources = _parse_resources(d.pop("resources", UNSET))

        def _parse_prompts(data: object) -> bool | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(bool | None | Unset, data)

        prompts = _parse_prompts(d.pop("prompts", UNSET))

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
            principal=principal,
            servers=servers,
            tools=tools,
            resources=resources,
            prompts=prompts,
            not_before=not_before,
            expires_at=expires_at,
            reason=reason,
        )
