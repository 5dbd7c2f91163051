from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Self, cast

from attrs import define

from ..models.stale_state import StaleState, check_stale_state

if TYPE_CHECKING:
    from ..models.all_servers import AllServers
    from ..models.all_tools import AllTools
    from ..models.end_proposal import EndProposal
    from ..models.group_principal import GroupPrincipal
    from ..models.identity_principal import IdentityPrincipal
    from ..models.narrow_proposal import NarrowProposal
    from ..models.servers_by_ids import ServersByIds
    from ..models.servers_by_labels import ServersByLabels
    from ..models.tools_by_names import ToolsByNames
    from ..models.tools_by_risk import ToolsByRisk
    from ..models.unused_tool import UnusedTool
    from ..models.used_thing import UsedThing


@define(kw_only=True)
class StaleGrant:
    """A grant and its uses in the window."""

    kind: Literal["grant"] = "grant"

    grant_id: str
    """The id of a grant."""

    revision: int
    """The revision of the grant, as in its ETag."""

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

    created_at: datetime.datetime
    """The time of creation."""

    expires_at: datetime.datetime | None
    """When it expires; null: it does not."""

    observed_since: datetime.datetime
    """Since when its uses are known: when it began to allow what it allows, or when uses began to be
    recorded."""

    state: StaleState
    """How much was used in the window: nothing, some, or all that it gives. `unknown`: it has not given
    what it gives, or was not watched, for so long."""

    last_used_at: datetime.datetime | None
    """When it was last used, also before the window; null: no use is known."""

    used_by: int
    """How many holders used it in the window."""

    held_by: int
    """How many hold it: one identity, or the members of the group."""

    used: list[UsedThing]
    """What was used in the window, the latest first; at most 100."""

    used_count: int
    """How many things were used in the window."""

    unused: list[UnusedTool]
    """Tools that it allows and that were not used in the window; at most 100."""

    unused_count: int
    """How many tools were not used."""

    proposal: EndProposal | NarrowProposal | None
    """Null when it is in use, or nothing is known."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        from ..models.all_tools import AllTools
        from ..models.end_proposal import EndProposal
        from ..models.identity_principal import IdentityPrincipal
        from ..models.narrow_proposal import NarrowProposal
        from ..models.servers_by_ids import ServersByIds
        from ..models.servers_by_labels import ServersByLabels
        from ..models.tools_by_names import ToolsByNames

        kind = self.kind

        grant_id = self.grant_id

        revision = self.revision

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

        created_at = self.created_at.isoformat()

        expires_at: None | str
        if isinstance(self.expires_at, datetime.datetime):
            expires_at = self.expires_at.isoformat()
        else:
            expires_at = self.expires_at

        observed_since = self.observed_since.isoformat()

        state: str = self.state

        last_used_at: None | str
        if isinstance(self.last_used_at, datetime.datetime):
            last_used_at = self.last_used_at.isoformat()
        else:
            last_used_at = self.last_used_at

        used_by = self.used_by

        held_by = self.held_by

        used = []
        for used_item_data in self.used:
            used_item = used_item_data.to_dict()
            used.append(used_item)

        used_count = self.used_count

        unused = []
        for unused_item_data in self.unused:
            unused_item = unused_item_data.to_dict()
            unused.append(unused_item)

        unused_count = self.unused_count

        proposal: dict[str, Any] | None
        if isinstance(self.proposal, EndProposal):
            proposal = self.proposal.to_dict()
        elif isinstance(self.proposal, NarrowProposal):
            proposal = self.proposal.to_dict()
        else:
            proposal = self.proposal

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "kind": kind,
                "grant_id": grant_id,
                "revision": revision,
                "principal": principal,
                "servers": servers,
                "tools": tools,
                "resources": resources,
                "prompts": prompts,
                "created_at": created_at,
                "expires_at": expires_at,
                "observed_since": observed_since,
                "state": state,
                "last_used_at": last_used_at,
                "used_by": used_by,
                "held_by": held_by,
                "used": used,
                "used_count": used_count,
                "unused": unused,
                "unused_count": unused_count,
                "proposal": proposal,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.all_servers import AllServers
        from ..models.all_tools import AllTools
        from ..models.end_proposal import EndProposal
        from ..models.group_principal import GroupPrincipal
        from ..models.identity_principal import IdentityPrincipal
        from ..models.narrow_proposal import NarrowProposal
        from ..models.servers_by_ids import ServersByIds
        from ..models.servers_by_labels import ServersByLabels
        from ..models.tools_by_names import ToolsByNames
        from ..models.tools_by_risk import ToolsByRisk
        from ..models.unused_tool import UnusedTool
        from ..models.used_thing import UsedThing

        d = dict(src_dict)
        kind = cast(Literal["grant"], d.pop("kind"))
        if kind != "grant":
            raise ValueError(f"kind must match const 'grant', got '{kind}'")

        grant_id = d.pop("grant_id")

        revision = d.pop("revision")

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

        created_at = datetime.datetime.fromisoformat(d.pop("created_at"))

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

        observed_since = datetime.datetime.fromisoformat(d.pop("observed_since"))

        state = check_stale_state(d.pop("state"))

        def _parse_last_used_at(data: object) -> datetime.datetime | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                last_used_at_type_0 = datetime.datetime.fromisoformat(data)

                return last_used_at_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None, data)

        last_used_at = _parse_last_used_at(d.pop("last_used_at"))

        used_by = d.pop("used_by")

        held_by = d.pop("held_by")

        used = []
        _used = d.pop("used")
        for used_item_data in _used:
            used_item = UsedThing.from_dict(used_item_data)

            used.append(used_item)

        used_count = d.pop("used_count")

        unused = []
        _unused = d.pop("unused")
        for unused_item_data in _unused:
            unused_item = UnusedTool.from_dict(unused_item_data)

            unused.append(unused_item)

        unused_count = d.pop("unused_count")

        def _parse_proposal(data: object) -> EndProposal | NarrowProposal | None:
            if data is None:
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                componentsschemas_grant_proposal_type_0 = EndProposal.from_dict(data)

                return componentsschemas_grant_proposal_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                componentsschemas_grant_proposal_type_1 = NarrowProposal.from_dict(data)

                return componentsschemas_grant_proposal_type_1
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(EndProposal | NarrowProposal | None, data)

        proposal = _parse_proposal(d.pop("proposal"))

        return cls(
            kind=kind,
            grant_id=grant_id,
            revision=revision,
            principal=principal,
            servers=servers,
            tools=tools,
            resources=resources,
            prompts=prompts,
            created_at=created_at,
            expires_at=expires_at,
            observed_since=observed_since,
            state=state,
            last_used_at=last_used_at,
            used_by=used_by,
            held_by=held_by,
            used=used,
            used_count=used_count,
            unused=unused,
            unused_count=unused_count,
            proposal=proposal,
        )
