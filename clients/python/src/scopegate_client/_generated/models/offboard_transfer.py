from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, cast

from attrs import define


@define(kw_only=True)
class OffboardTransfer:
    """Agents that were transferred, or would be under `dry_run`."""

    to: None | str
    """Their new owner."""

    agents: list[str]
    """The agents."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        to: None | str
        to = self.to

        agents = self.agents

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "to": to,
                "agents": agents,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)

        def _parse_to(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        to = _parse_to(d.pop("to"))

        agents = cast(list[str], d.pop("agents"))

        return cls(
            to=to,
            agents=agents,
        )
