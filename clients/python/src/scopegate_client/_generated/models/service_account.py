from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, Self, cast

from attrs import define

from ..models.role import Role, check_role
from ..models.service_account_status import (
    ServiceAccountStatus,
    check_service_account_status,
)


@define(kw_only=True)
class ServiceAccount:
    """A program that manages the control plane."""

    id: str
    """The id of a service account."""

    name: str
    """Its display name."""

    owner_id: str
    """The identity that owns it."""

    owner_offboarded: bool
    """Whether its owner was offboarded: it cannot act until it gets an active owner."""

    role: Role
    """What a caller may do at the API, strongest first."""

    status: ServiceAccountStatus
    """A `disabled` account cannot sign in, and its bearers do not work."""

    created_at: datetime.datetime
    """The time of creation."""

    updated_at: datetime.datetime
    """The time of the last change."""

    ended_at: datetime.datetime | None
    """The time of the end; null before it."""

    revision: int
    """The number of the current revision; in quotes it is the `ETag`."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        id = self.id

        name = self.name

        owner_id = self.owner_id

        owner_offboarded = self.owner_offboarded

        role: str = self.role

        status: str = self.status

        created_at = self.created_at.isoformat()

        updated_at = self.updated_at.isoformat()

        ended_at: None | str
        if isinstance(self.ended_at, datetime.datetime):
            ended_at = self.ended_at.isoformat()
        else:
            ended_at = self.ended_at

        revision = self.revision

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "id": id,
                "name": name,
                "owner_id": owner_id,
                "owner_offboarded": owner_offboarded,
                "role": role,
                "status": status,
                "created_at": created_at,
                "updated_at": updated_at,
                "ended_at": ended_at,
                "revision": revision,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        id = d.pop("id")

        name = d.pop("name")

        owner_id = d.pop("owner_id")

        owner_offboarded = d.pop("owner_offboarded")

        role = check_role(d.pop("role"))

        status = check_service_account_status(d.pop("status"))

        created_at = datetime.datetime.fromisoformat(d.pop("created_at"))

        updated_at = datetime.datetime.fromisoformat(d.pop("updated_at"))

        def _parse_ended_at(data: object) -> datetime.datetime | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                ended_at_type_0 = datetime.datetime.fromisoformat(data)

                return ended_at_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None, data)

        ended_at = _parse_ended_at(d.pop("ended_at"))

        revision = d.pop("revision")

        return cls(
            id=id,
            name=name,
            owner_id=owner_id,
            owner_offboarded=owner_offboarded,
            role=role,
            status=status,
            created_at=created_at,
            updated_at=updated_at,
            ended_at=ended_at,
            revision=revision,
        )
