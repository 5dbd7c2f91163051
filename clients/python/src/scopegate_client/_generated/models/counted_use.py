from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, Self

from attrs import define


@define(kw_only=True)
class CountedUse:
    """A use of a policy's quota by the call. The remaining number is not shown here."""

    policy_id: str
    """The id of a policy."""

    limit: int
    """Uses from `since` to `until`."""

    since: datetime.datetime
    """When the count began."""

    until: datetime.datetime
    """When it resets."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        policy_id = self.policy_id

        limit = self.limit

        since = self.since.isoformat()

        until = self.until.isoformat()

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "policy_id": policy_id,
                "limit": limit,
                "since": since,
                "until": until,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        policy_id = d.pop("policy_id")

        limit = d.pop("limit")

        since = datetime.datetime.fromisoformat(d.pop("since"))

        until = datetime.datetime.fromisoformat(d.pop("until"))

        return cls(
            policy_id=policy_id,
            limit=limit,
            since=since,
            until=until,
        )
