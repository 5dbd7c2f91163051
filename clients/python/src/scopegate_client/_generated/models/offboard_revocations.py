from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, cast

from attrs import define


@define(kw_only=True)
class OffboardRevocations:
    """What ended with the identity, or would end under `dry_run`."""

    tokens: list[str]
    """Its own, its agents', and all that were attenuated from those."""

    agents: list[str]
    """Agents that were suspended because they have no active owner."""

    approvals: int
    """Pending approvals, and approved ones that were not used."""

    in_flight: int
    """Calls that were running; they are cut. Counted among the newest 2,000."""

    administrator: bool
    """Whether an administrator record was disabled."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        tokens = self.tokens

        agents = self.agents

        approvals = self.approvals

        in_flight = self.in_flight

        administrator = self.administrator

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "tokens": tokens,
                "agents": agents,
                "approvals": approvals,
                "in_flight": in_flight,
                "administrator": administrator,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        tokens = cast(list[str], d.pop("tokens"))

        agents = cast(list[str], d.pop("agents"))

        approvals = d.pop("approvals")

        in_flight = d.pop("in_flight")

        administrator = d.pop("administrator")

        return cls(
            tokens=tokens,
            agents=agents,
            approvals=approvals,
            in_flight=in_flight,
            administrator=administrator,
        )
