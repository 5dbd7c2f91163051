from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from attrs import define

from ..models.risk import Risk, check_risk


@define(kw_only=True)
class PreviewedTool:
    """A tool that the grant would reach."""

    name: str
    """Its name on the server."""

    risk: Risk
    """What a call may do to the world."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        name = self.name

        risk: str = self.risk

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "name": name,
                "risk": risk,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        name = d.pop("name")

        risk = check_risk(d.pop("risk"))

        return cls(
            name=name,
            risk=risk,
        )
