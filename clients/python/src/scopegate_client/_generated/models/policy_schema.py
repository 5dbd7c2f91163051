from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, cast

from attrs import define


@define(kw_only=True)
class PolicySchema:
    """The vocabulary of policies."""

    version: int
    """The version of the vocabulary. Within a version, it is only extended."""

    cedar: str
    """A Cedar schema: entity types, actions and the context."""

    tool: None | str
    """The tool for the type of `context.arguments`; null: none."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        version = self.version

        cedar = self.cedar

        tool: None | str
        tool = self.tool

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "version": version,
                "cedar": cedar,
                "tool": tool,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        version = d.pop("version")

        cedar = d.pop("cedar")

        def _parse_tool(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        tool = _parse_tool(d.pop("tool"))

        return cls(
            version=version,
            cedar=cedar,
            tool=tool,
        )
