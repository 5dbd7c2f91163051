from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, Self

from attrs import define


@define(kw_only=True)
class GroupMember:
    """A current membership."""

    group_id: str
    """The id of a group."""

    identity_id: str
    """The id of an identity."""

    created_at: datetime.datetime
    """When the identity joined."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        group_id = self.group_id

        identity_id = self.identity_id

        created_at = self.created_at.isoformat()

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "group_id": group_id,
                "identity_id": identity_id,
                "created_at": created_at,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        group_id = d.pop("group_id")

        identity_id = d.pop("identity_id")

        created_at = datetime.datetime.fromisoformat(d.pop("created_at"))

        return cls(
            group_id=group_id,
            identity_id=identity_id,
            created_at=created_at,
        )
