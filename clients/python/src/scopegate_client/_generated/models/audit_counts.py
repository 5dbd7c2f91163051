from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from attrs import define


@define(kw_only=True)
class AuditCounts:
    """How many events there are, and what they stand for."""

    events: int
    """How many events a list shows."""

    count: int
    """How many things they tell of. It is more where one event stands for many refusals."""

    allow: int
    """How many of these things were allowed."""

    deny: int
    """How many were denied."""

    require_approval: int
    """How many had to be approved first."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        events = self.events

        count = self.count

        allow = self.allow

        deny = self.deny

        require_approval = self.require_approval

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "events": events,
                "count": count,
                "allow": allow,
                "deny": deny,
                "require_approval": require_approval,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        events = d.pop("events")

        count = d.pop("count")

        allow = d.pop("allow")

        deny = d.pop("deny")

        require_approval = d.pop("require_approval")

        return cls(
            events=events,
            count=count,
            allow=allow,
            deny=deny,
            require_approval=require_approval,
        )
