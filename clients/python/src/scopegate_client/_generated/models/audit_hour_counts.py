from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, Self

from attrs import define


@define(kw_only=True)
class AuditHourCounts:
    """Counts of one hour."""

    events: int
    """Number of events in a list."""

    count: int
    """Number of requests and changes. It is larger when one event summarizes many refusals."""

    allow: int
    """Number of allowed requests."""

    deny: int
    """Number of denied requests."""

    require_approval: int
    """Number of requests that needed an approval."""

    hour: datetime.datetime
    """Start of the hour."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        events = self.events

        count = self.count

        allow = self.allow

        deny = self.deny

        require_approval = self.require_approval

        hour = self.hour.isoformat()

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "events": events,
                "count": count,
                "allow": allow,
                "deny": deny,
                "require_approval": require_approval,
                "hour": hour,
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

        hour = datetime.datetime.fromisoformat(d.pop("hour"))

        return cls(
            events=events,
            count=count,
            allow=allow,
            deny=deny,
            require_approval=require_approval,
            hour=hour,
        )
