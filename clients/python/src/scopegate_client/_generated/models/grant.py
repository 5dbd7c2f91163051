from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from attrs import define

from ..models.grant_status import GrantStatus, check_grant_status

if TYPE_CHECKING:
    from ..models.all_servers import AllServers
    from ..models.all_tools import AllTools
    from ..models.group_principal import GroupPrincipal
    from ..models.identity_principal import IdentityPrincipal
    from ..models.reaches import Reaches
    from ..models.selector_warning import SelectorWarning
    from ..models.servers_by_ids import ServersByIds
    from ..models.servers_by_labels import ServersByLabels
    from ..models.tools_by_names import ToolsByNames
    from ..models.tools_by_risk import ToolsByRisk


@define(kw_only=True)
class Grant:
    """A durable entitlement. ``status`` depends on the time."""

    id: str
    """The id of a grant."""

    principal: GroupPrincipal | IdentityPrincipal
    """The holder of the grant: an identity, or the members of a group."""

    servers: AllServers | ServersByIds | ServersByLabels
    """The servers: by id, by labels, or all."""

    tools: AllTools | ToolsByNames | ToolsByRisk
    """The tools of the selected servers: all, by name, or by risk."""

    resources: bool
    """Whether it reaches the servers' resources."""

    prompts: bool
    """Whether it reaches the servers' prompts."""

    not_before: datetime.datetime | None
    """When it starts; null: at its creation."""

    expires_at: datetime.datetime | None
    """When it expires; null: it does not."""

    reason: None | str
    """The reason for the grant."""

    approval_id: None | str
    """The access request that it was created for; null when there was none."""

    status: GrantStatus
    """By the clock: `scheduled` until `not_before`, `expired` from `expires_at`."""

    reaches: None | Reaches
    """How much it reaches now, without policies; null in lists, which do not compute it."""

    warnings: list[SelectorWarning] | None
    """Parts of its selectors that match nothing now; null in lists, which do not compute it."""

    ended_at: datetime.datetime | None
    """The time of the end; null before it."""

    created_at: datetime.datetime
    """The time of creation."""

    updated_at: datetime.datetime
    """The time of the last change."""

    revision: int
    """The number of the current revision; in quotes it is the `ETag`."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        from ..models.all_tools import AllTools
        from ..models.identity_principal import IdentityPrincipal
        from ..models.reaches import Reaches
        from ..models.servers_by_ids import ServersByIds
        from ..models.servers_by_labels import ServersByLabels
        from ..models.tools_by_names import ToolsByNames

        id = self.id

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

        resources = self.resources

        prompts = self.prompts

        not_before: None | str
        if isinstance(self.not_before, datetime.datetime):
            not_before = self.not_before.isoformat()
        else:
            not_before = self.not_before

        expires_at: None | str
        if isinstance(self.expires_at, datetime.datetime):
            expires_at = self.expires_at.isoformat()
        else:
            expires_at = self.expires_at

        reason: None | str
        reason = self.reason

        approval_id: None | str
        approval_id = self.approval_id

        status: str = self.status

        reaches: dict[str, Any] | None
        if isinstance(self.reaches, Reaches):
            reaches = self.reaches.to_dict()
        else:
            reaches = self.reaches

        warnings: list[dict[str, Any]] | None
        if isinstance(self.warnings, list):
            warnings = []
            for warnings_type_0_item_data in self.warnings:
                warnings_type_0_item = warnings_type_0_item_data.to_dict()
                warnings.append(warnings_type_0_item)

        else:
            warnings = self.warnings

        ended_at: None | str
        if isinstance(self.ended_at, datetime.datetime):
            ended_at = self.ended_at.isoformat()
        else:
            ended_at = self.ended_at

        created_at = self.created_at.isoformat()

        updated_at = self.updated_at.isoformat()

        revision = self.revision

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "id": id,
                "principal": principal,
                "servers": servers,
                "tools": tools,
                "resources": resources,
                "prompts": prompts,
                "not_before": not_before,
                "expires_at": expires_at,
                "reason": reason,
                "approval_id": approval_id,
                "status": status,
                "reaches": reaches,
                "warnings": warnings,
                "ended_at": ended_at,
                "created_at": created_at,
                "updated_at": updated_at,
                "revision": revision,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.all_servers import AllServers
        from ..models.all_tools import AllTools
        from ..models.group_principal import GroupPrincipal
        from ..models.identity_principal import IdentityPrincipal
        from ..models.reaches import Reaches
        from ..models.selector_warning import SelectorWarning
        from ..models.servers_by_ids import ServersByIds
        from ..models.servers_by_labels import ServersByLabels
        from ..models.tools_by_names import ToolsByNames
        from ..models.tools_by_risk import ToolsByRisk

        d = dict(src_dict)
        id = d.pop("id")

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

        resources = d.pop("resources")

        prompts = d.pop("prompts")

        def _parse_not_before(data: object) -> datetime.datetime | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                not_before_type_0 = datetime.datetime.fromisoformat(data)

                return not_before_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None, data)

        not_before = _parse_not_before(d.pop("not_before"))

        def _parse_expires_at(data: object) -> datetime.datetime | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                expires_at_type_0 = datetime.datetime.fromisoformat(data)

                return expires_at_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None, data)

        expires_at = _parse_expires_at(d.pop("expires_at"))

        def _parse_reason(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        reason = _parse_reason(d.pop("reason"))

        def _parse_approval_id(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        approval_id = _parse_approval_id(d.pop("approval_id"))

        status = check_grant_status(d.pop("status"))

        def _parse_reaches(data: object) -> None | Reaches:
            if data is None:
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                reaches_type_0 = Reaches.from_dict(data)

                return reaches_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(None | Reaches, data)

        reaches = _parse_reaches(d.pop("reaches"))

        def _parse_warnings(data: object) -> list[SelectorWarning] | None:
            if data is None:
                return data
            try:
                if not isinstance(data, list):
                    raise TypeError()
                warnings_type_0 = []
                _warnings_type_0 = data
                for warnings_type_0_item_data in _warnings_type_0:
                    warnings_type_0_item = SelectorWarning.from_dict(warnings_type_0_item_data)

                    warnings_type_0.append(warnings_type_0_item)

                return warnings_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(list[SelectorWarning] | None, data)

        warnings = _parse_warnings(d.pop("warnings"))

        def _parse_ended_at(data: object) -> datetime.datetime | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                ended_at_type_0 = datetime.datetime.fromisoformat(data)

                return ended_at_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None, data)

        ended_at = _parse_ended_at(d.pop("ended_at"))

        created_at = datetime.datetime.fromisoformat(d.pop("created_at"))

        updated_at = datetime.datetime.fromisoformat(d.pop("updated_at"))

        revision = d.pop("revision")

        return cls(
            id=id,
            principal=principal,
            servers=servers,
            tools=tools,
            resources=resources,
            prompts=prompts,
            not_before=not_before,
            expires_at=expires_at,
            reason=reason,
            approval_id=approval_id,
            status=status,
            reaches=reaches,
            warnings=warnings,
            ended_at=ended_at,
            created_at=created_at,
            updated_at=updated_at,
            revision=revision,
        )
