from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from attrs import define

if TYPE_CHECKING:
    from ..models.audit_counts import AuditCounts
    from ..models.audit_hour_counts import AuditHourCounts


@define(kw_only=True)
class AuditStats:
    """Hourly counts. Outcomes of calls count as part of their call."""

    since: datetime.datetime
    """Start of the first hour."""

    until: datetime.datetime
    """End of the last hour."""

    hours: list[AuditHourCounts]
    """Every hour in the span, in order, including empty ones."""

    total: AuditCounts
    """Counts of audit events."""

    is_complete: bool
    """False while older events are still being counted, such as after an upgrade."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        since = self.since.isoformat()

        until = self.until.isoformat()

        hours = []
        for hours_item_data in self.hours:
            hours_item = hours_item_data.to_dict()
            hours.append(hours_item)

        total = self.total.to_dict()

        is_complete = self.is_complete

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "since": since,
                "until": until,
                "hours": hours,
                "total": total,
                "is_complete": is_complete,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.audit_counts import AuditCounts
        from ..models.audit_hour_counts import AuditHourCounts

        d = dict(src_dict)
        since = datetime.datetime.fromisoformat(d.pop("since"))

        until = datetime.datetime.fromisoformat(d.pop("until"))

        hours = []
        _hours = d.pop("hours")
        for hours_item_data in _hours:
            hours_item = AuditHourCounts.from_dict(hours_item_data)

            hours.append(hours_item)

        total = AuditCounts.from_dict(d.pop("total"))

        is_complete = d.pop("is_complete")

        return cls(
            since=since,
            until=until,
            hours=hours,
            total=total,
            is_complete=is_complete,
        )
