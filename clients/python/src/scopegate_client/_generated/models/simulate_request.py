from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from attrs import define

from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.simulated_change import SimulatedChange


@define(kw_only=True)
class SimulateRequest:
    """The policy changes, and the calls to replay."""

    changes: list[SimulatedChange]
    """The changes, all at once."""

    days: int | None | Unset = UNSET
    """Replay the calls of this many days."""

    since: datetime.datetime | None | Unset = UNSET
    """Replay the calls since this time, at most 31 days ago; instead of `days`."""

    limit: int | Unset = 100
    """Number of changed calls to list, newest first."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        changes = []
        for changes_item_data in self.changes:
            changes_item = changes_item_data.to_dict()
            changes.append(changes_item)

        days: int | None | Unset
        if isinstance(self.days, Unset):
            days = UNSET
        else:
            days = self.days

        since: None | str | Unset
        if isinstance(self.since, Unset):
            since = UNSET
        elif isinstance(self.since, datetime.datetime):
            since = self.since.isoformat()
        else:
            since = self.since

        limit = self.limit

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "changes": changes,
            }
        )
        if days is not UNSET:
            field_dict["days"] = days
        if since is not UNSET:
            field_dict["since"] = since
        if limit is not UNSET:
            field_dict["limit"] = limit
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.simulated_change import SimulatedChange

        d = dict(src_dict)
        changes = []
        _changes = d.pop("changes")
        for changes_item_data in _changes:
            changes_item = SimulatedChange.from_dict(changes_item_data)

            changes.append(changes_item)

        def _parse_days(data: object) -> int | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(int | None | Unset, data)

        days = _parse_days(d.pop("days", UNSET))

        def _parse_since(data: object) -> datetime.datetime | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                since_type_0 = datetime.datetime.fromisoformat(data)

                return since_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None | Unset, data)

        since = _parse_since(d.pop("since", UNSET))

        limit = d.pop("limit", UNSET)

        return cls(
            changes=changes,
            days=days,
            since=since,
            limit=limit,
        )
