from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from attrs import define

from ..models.risk import Risk, check_risk
from ..models.tool_state import ToolState, check_tool_state

if TYPE_CHECKING:
    from ..models.json_schema import JsonSchema
    from ..models.tool_annotations import ToolAnnotations


@define(kw_only=True)
class Tool:
    """A tool of a server, with its latest definition."""

    id: str
    """The id of a tool."""

    server_id: str
    """The id of a server."""

    name: str
    """The name on its server."""

    title: None | str
    """The title from its server."""

    description: None | str
    """The description from its server."""

    input_schema: JsonSchema
    """A JSON Schema."""

    output_schema: JsonSchema | None
    """The JSON Schema of its structured results."""

    annotations: None | ToolAnnotations
    """Hints from the server."""

    risk: Risk
    """What a call may do to the world."""

    risk_overridden: bool
    """Whether an administrator set the risk."""

    state: ToolState
    """Only an `active` tool can be listed or called; a `quarantined` one needs an approval."""

    definition_digest: str
    """SHA-256 over name, title, description, schemas and annotations, in hexadecimal."""

    approved_digest: None | str
    """The approved definition; calls require it to be the current one."""

    created_at: datetime.datetime
    """The time of creation."""

    updated_at: datetime.datetime
    """The time of the last change."""

    revision: int
    """The number of the current revision; in quotes it is the `ETag`."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        from ..models.json_schema import JsonSchema
        from ..models.tool_annotations import ToolAnnotations

        id = self.id

        server_id = self.server_id

        name = self.name

        title: None | str
        title = self.title

        description: None | str
        description = self.description

        input_schema = self.input_schema.to_dict()

        output_schema: dict[str, Any] | None
        if isinstance(self.output_schema, JsonSchema):
            output_schema = self.output_schema.to_dict()
        else:
            output_schema = self.output_schema

        annotations: dict[str, Any] | None
        if isinstance(self.annotations, ToolAnnotations):
            annotations = self.annotations.to_dict()
        else:
            annotations = self.annotations

        risk: str = self.risk

        risk_overridden = self.risk_overridden

        state: str = self.state

        definition_digest = self.definition_digest

        approved_digest: None | str
        approved_digest = self.approved_digest

        created_at = self.created_at.isoformat()

        updated_at = self.updated_at.isoformat()

        revision = self.revision

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "id": id,
                "server_id": server_id,
                "name": name,
                "title": title,
                "description": description,
                "input_schema": input_schema,
                "output_schema": output_schema,
                "annotations": annotations,
                "risk": risk,
                "risk_overridden": risk_overridden,
                "state": state,
                "definition_digest": definition_digest,
                "approved_digest": approved_digest,
                "created_at": created_at,
                "updated_at": updated_at,
                "revision": revision,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.json_schema import JsonSchema
        from ..models.tool_annotations import ToolAnnotations

        d = dict(src_dict)
        id = d.pop("id")

        server_id = d.pop("server_id")

        name = d.pop("name")

        def _parse_title(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        title = _parse_title(d.pop("title"))

        def _parse_description(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        description = _parse_description(d.pop("description"))

        input_schema = JsonSchema.from_dict(d.pop("input_schema"))

        def _parse_output_schema(data: object) -> JsonSchema | None:
            if data is None:
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                output_schema_type_0 = JsonSchema.from_dict(data)

                return output_schema_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(JsonSchema | None, data)

        output_schema = _parse_output_schema(d.pop("output_schema"))

        def _parse_annotations(data: object) -> None | ToolAnnotations:
            if data is None:
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                annotations_type_0 = ToolAnnotations.from_dict(data)

                return annotations_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(None | ToolAnnotations, data)

        annotations = _parse_annotations(d.pop("annotations"))

        risk = check_risk(d.pop("risk"))

        risk_overridden = d.pop("risk_overridden")

        state = check_tool_state(d.pop("state"))

        definition_digest = d.pop("definition_digest")

        def _parse_approved_digest(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        approved_digest = _parse_approved_digest(d.pop("approved_digest"))

        created_at = datetime.datetime.fromisoformat(d.pop("created_at"))

        updated_at = datetime.datetime.fromisoformat(d.pop("updated_at"))

        revision = d.pop("revision")

        return cls(
            id=id,
            server_id=server_id,
            name=name,
            title=title,
            description=description,
            input_schema=input_schema,
            output_schema=output_schema,
            annotations=annotations,
            risk=risk,
            risk_overridden=risk_overridden,
            state=state,
            definition_digest=definition_digest,
            approved_digest=approved_digest,
            created_at=created_at,
            updated_at=updated_at,
            revision=revision,
        )
