from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from attrs import define

from ..models.risk import Risk, check_risk
from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.json_schema import JsonSchema
    from ..models.tool_annotations import ToolAnnotations


@define(kw_only=True)
class ToolCreate:
    """A manually created tool, active immediately. A sync that does not find it removes it."""

    server_id: str
    """The id of a server."""

    name: str
    """The name on its server."""

    input_schema: JsonSchema
    """A JSON Schema."""

    title: None | str | Unset = UNSET
    """The title from its server."""

    description: None | str | Unset = UNSET
    """The description from its server."""

    output_schema: JsonSchema | None | Unset = UNSET
    """The JSON Schema of its structured results."""

    annotations: None | ToolAnnotations | Unset = UNSET
    """Hints from the server."""

    risk: None | Risk | Unset = UNSET
    """Read from annotations and name when absent."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        from ..models.json_schema import JsonSchema
        from ..models.tool_annotations import ToolAnnotations

        server_id = self.server_id

        name = self.name

        input_schema = self.input_schema.to_dict()

        title: None | str | Unset
        if isinstance(self.title, Unset):
            title = UNSET
        else:
            title = self.title

        description: None | str | Unset
        if isinstance(self.description, Unset):
            description = UNSET
        else:
            description = self.description

        output_schema: dict[str, Any] | None | Unset
        if isinstance(self.output_schema, Unset):
            output_schema = UNSET
        elif isinstance(self.output_schema, JsonSchema):
            output_schema = self.output_schema.to_dict()
        else:
            output_schema = self.output_schema

        annotations: dict[str, Any] | None | Unset
        if isinstance(self.annotations, Unset):
            annotations = UNSET
        elif isinstance(self.annotations, ToolAnnotations):
            annotations = self.annotations.to_dict()
        else:
            annotations = self.annotations

        risk: None | str | Unset
        if isinstance(self.risk, Unset):
            risk = UNSET
        elif isinstance(self.risk, str):
            risk = self.risk
        else:
            risk = self.risk

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "server_id": server_id,
                "name": name,
                "input_schema": input_schema,
            }
        )
        if title is not UNSET:
            field_dict["title"] = title
        if description is not UNSET:
            field_dict["description"] = description
        if output_schema is not UNSET:
            field_dict["output_schema"] = output_schema
        if annotations is not UNSET:
            field_dict["annotations"] = annotations
        if risk is not UNSET:
            field_dict["risk"] = risk
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.json_schema import JsonSchema
        from ..models.tool_annotations import ToolAnnotations

        d = dict(src_dict)
        server_id = d.pop("server_id")

        name = d.pop("name")

        input_schema = JsonSchema.from_dict(d.pop("input_schema"))

        def _parse_title(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        title = _parse_title(d.pop("title", UNSET))

        def _parse_description(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        description = _parse_description(d.pop("description", UNSET))

        def _parse_output_schema(data: object) -> JsonSchema | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                output_schema_type_0 = JsonSchema.from_dict(data)

                return output_schema_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(JsonSchema | None | Unset, data)

        output_schema = _parse_output_schema(d.pop("output_schema", UNSET))

        def _parse_annotations(data: object) -> None | ToolAnnotations | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                annotations_type_0 = ToolAnnotations.from_dict(data)

                return annotations_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(None | ToolAnnotations | Unset, data)

        annotations = _parse_annotations(d.pop("annotations", UNSET))

        def _parse_risk(data: object) -> None | Risk | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                risk_type_0 = check_risk(data)

                return risk_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(None | Risk | Unset, data)

        risk = _parse_risk(d.pop("risk", UNSET))

        return cls(
            server_id=server_id,
            name=name,
            input_schema=input_schema,
            title=title,
            description=description,
            output_schema=output_schema,
            annotations=annotations,
            risk=risk,
        )
