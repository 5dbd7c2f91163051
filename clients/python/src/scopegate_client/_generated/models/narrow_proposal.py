from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Self, cast

from attrs import define

from ..models.narrowing_note import NarrowingNote, check_narrowing_note

if TYPE_CHECKING:
    from ..models.all_servers import AllServers
    from ..models.all_tools import AllTools
    from ..models.servers_by_ids import ServersByIds
    from ..models.servers_by_labels import ServersByLabels
    from ..models.tools_by_names import ToolsByNames
    from ..models.tools_by_risk import ToolsByRisk


@define(kw_only=True)
class NarrowProposal:
    """The narrowest grant that covers what was used, and what came within reach too late to be judged."""

    action: Literal["narrow"] = "narrow"

    servers: AllServers | ServersByIds | ServersByLabels
    """The servers: by id, by labels, or all."""

    tools: AllTools | ToolsByNames | ToolsByRisk
    """The tools of the selected servers: all, by name, or by risk."""

    resources: bool
    """Whether it should reach the servers' resources."""

    prompts: bool
    """Whether it should reach the servers' prompts."""

    notes: list[NarrowingNote]
    """Changes beyond what is within reach today."""

    digest: str
    """Identifies the proposal when you apply it."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        from ..models.all_tools import AllTools
        from ..models.servers_by_ids import ServersByIds
        from ..models.servers_by_labels import ServersByLabels
        from ..models.tools_by_names import ToolsByNames

        action = self.action

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

        notes = []
        for notes_item_data in self.notes:
            notes_item: str = notes_item_data
            notes.append(notes_item)

        digest = self.digest

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "action": action,
                "servers": servers,
                "tools": tools,
                "resources": resources,
                "prompts": prompts,
                "notes": notes,
                "digest": digest,
            }
        )
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
        action = cast(Literal["narrow"], d.pop("action"))
        if action != "narrow":
            raise ValueError(f"action must match const 'narrow', got '{action}'")

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

        notes = []
        _notes = d.pop("notes")
        for notes_item_data in _notes:
            notes_item = check_narrowing_note(notes_item_data)

            notes.append(notes_item)

        digest = d.pop("digest")

        return cls(
            action=action,
            servers=servers,
            tools=tools,
            resources=resources,
            prompts=prompts,
            notes=notes,
            digest=digest,
        )
