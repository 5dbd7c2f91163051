from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from attrs import define

from ..models.tool_state import ToolState, check_tool_state

if TYPE_CHECKING:
    from ..models.definition_change import DefinitionChange
    from ..models.tool_definition import ToolDefinition


@define(kw_only=True)
class ToolChanges:
    """The approved and the latest definition of a tool, with their differences.

    Approving takes the `definition_digest` of `latest`, so that only what is shown here can be
    approved."""

    tool_id: str
    """The id of a tool."""

    name: str
    """The name on its server."""

    state: ToolState
    """Only an `active` tool can be listed or called; a `quarantined` one needs an approval."""

    approved: None | ToolDefinition
    """Null if none was ever approved."""

    latest: ToolDefinition
    """A tool definition from a server."""

    changes: list[DefinitionChange]
    """Empty when they are equal, or differ only in how a number is written."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        from ..models.tool_definition import ToolDefinition

        tool_id = self.tool_id

        name = self.name

        state: str = self.state

        approved: dict[str, Any] | None
        if isinstance(self.approved, ToolDefinition):
            approved = self.approved.to_dict()
        else:
            approved = self.approved

        latest = self.latest.to_dict()

        changes = []
        for changes_item_data in self.changes:
            changes_item = changes_item_data.to_dict()
            changes.append(changes_item)

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "tool_id": tool_id,
                "name": name,
                "state": state,
                "approved": approved,
                "latest": latest,
                "changes": changes,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.definition_change import DefinitionChange
        from ..models.tool_definition import ToolDefinition

        d = dict(src_dict)
        tool_id = d.pop("tool_id")

        name = d.pop("name")

        state = check_tool_state(d.pop("state"))

        def _parse_approved(data: object) -> None | ToolDefinition:
            if data is None:
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                approved_type_0 = ToolDefinition.from_dict(data)

                return approved_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(None | ToolDefinition, data)

        approved = _parse_approved(d.pop("approved"))

        latest = ToolDefinition.from_dict(d.pop("latest"))

        changes = []
        _changes = d.pop("changes")
        for changes_item_data in _changes:
            changes_item = DefinitionChange.from_dict(changes_item_data)

            changes.append(changes_item)

        return cls(
            tool_id=tool_id,
            name=name,
            state=state,
            approved=approved,
            latest=latest,
            changes=changes,
        )
