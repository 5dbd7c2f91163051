from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, cast

from attrs import define

from ..models.risk import Risk, check_risk


@define(kw_only=True)
class RequestableTool:
    """A tool that can be requested."""

    name: str
    """Its name on the server."""

    title: None | str
    """Its display name on the server."""

    risk: Risk
    """What a call may do to the world."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        name = self.name

        title: None | str
        title = self.title

        risk: str = self.risk

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
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
        name = d.pop("name")

        def _parse_title(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        title = _parse_title(d.pop("title"))

        risk = check_risk(d.pop("risk"))

        return cls(
            name=name,
            title=title,
            risk=risk,
        )
