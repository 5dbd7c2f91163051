from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from attrs import define


@define(kw_only=True)
class RenderedPolicy:
    """The text of a policy, to review and store."""

    text: str
    """Exactly one Cedar statement."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        text = self.text

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "text": text,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        text = d.pop("text")

        return cls(
            text=text,
        )
