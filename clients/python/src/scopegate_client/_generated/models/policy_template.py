from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from attrs import define

if TYPE_CHECKING:
    from ..models.json_schema import JsonSchema


@define(kw_only=True)
class PolicyTemplate:
    """A policy with parameters."""

    name: str
    """Its name in paths."""

    title: str
    """What it does, in a few words."""

    description: str
    """The parameters in words."""

    parameters: JsonSchema
    """A JSON Schema."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        name = self.name

        title = self.title

        description = self.description

        parameters = self.parameters.to_dict()

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "name": name,
                "title": title,
                "description": description,
                "parameters": parameters,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.json_schema import JsonSchema

        d = dict(src_dict)
        name = d.pop("name")

        title = d.pop("title")

        description = d.pop("description")

        parameters = JsonSchema.from_dict(d.pop("parameters"))

        return cls(
            name=name,
            title=title,
            description=description,
            parameters=parameters,
        )
