from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from attrs import define

if TYPE_CHECKING:
    from ..models.json_schema import JsonSchema
    from ..models.tool_annotations import ToolAnnotations


@define(kw_only=True)
class ToolDefinition:
    """A tool definition from a server."""

    definition_digest: str
    """SHA-256 over name, title, description, schemas and annotations, in hexadecimal."""

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

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        from ..models.json_schema import JsonSchema
        from ..models.tool_annotations import ToolAnnotations

        definition_digest = self.definition_digest

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

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "definition_digest": definition_digest,
                "title": title,
                "description": description,
                "input_schema": input_schema,
                "output_schema": output_schema,
                "annotations": annotations,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.json_schema import JsonSchema
        from ..models.tool_annotations import ToolAnnotations

        d = dict(src_dict)
        definition_digest = d.pop("definition_digest")

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

        return cls(
            definition_digest=definition_digest,
            title=title,
            description=description,
            input_schema=input_schema,
            output_schema=output_schema,
            annotations=annotations,
        )
