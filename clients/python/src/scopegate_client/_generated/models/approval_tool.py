from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, cast

from attrs import define

from ..models.risk import Risk, check_risk


@define(kw_only=True)
class ApprovalTool:
    """The tool of the call."""

    id: None | str
    """Its id, while the server has it."""

    name: str
    """Its name on the server."""

    title: None | str
    """Its display name on the server."""

    risk: None | Risk
    """Its current risk."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        id: None | str
        id = self.id

        name = self.name

        title: None | str
        title = self.title

        risk: None | str
        if isinstance(self.risk, str):
            risk = self.risk
        else:
            risk = self.risk

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "id": id,
                "name": name,
                "title": title,
                "risk": risk,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)

        def _parse_id(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        id = _parse_id(d.pop("id"))

        name = d.pop("name")

        def _parse_title(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        title = _parse_title(d.pop("title"))

        def _parse_risk(data: object) -> None | Risk:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                risk_type_0 = check_risk(data)

                return risk_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(None | Risk, data)

        risk = _parse_risk(d.pop("risk"))

        return cls(
            id=id,
            name=name,
            title=title,
            risk=risk,
        )
