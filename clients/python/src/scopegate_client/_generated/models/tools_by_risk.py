from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self, cast

from attrs import define

from ..models.risk import Risk, check_risk


@define(kw_only=True)
class ToolsByRisk:
    """The tools of these risks; none if the list is empty."""

    kind: Literal["risk"] = "risk"

    risk: list[Risk]
    """The risks."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        kind = self.kind

        risk = []
        for risk_item_data in self.risk:
            risk_item: str = risk_item_data
            risk.append(risk_item)

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "kind": kind,
                "risk": risk,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        kind = cast(Literal["risk"], d.pop("kind"))
        if kind != "risk":
            raise ValueError(f"kind must match const 'risk', got '{kind}'")

        risk = []
        _risk = d.pop("risk")
        for risk_item_data in _risk:
            risk_item = check_risk(risk_item_data)

            risk.append(risk_item)

        return cls(
            kind=kind,
            risk=risk,
        )
