from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from attrs import define

from ..models.administrator_status import (
    AdministratorStatus,
    check_administrator_status,
)

if TYPE_CHECKING:
    from ..models.role_assignment import RoleAssignment


@define(kw_only=True)
class Administrator:
    """A person who has signed in with a role."""

    id: str
    """The id of an administrator."""

    identity_id: str
    """The person."""

    status: AdministratorStatus
    """A `disabled` administrator cannot sign in."""

    role_assignments: list[RoleAssignment]
    """The roles in their latest token, the strongest first. The provider decides them."""

    last_sign_in_at: datetime.datetime | None
    """When their latest access token was issued. It does not change `revision`."""

    created_at: datetime.datetime
    """The time of creation."""

    updated_at: datetime.datetime
    """The time of the last change."""

    revision: int
    """The number of the current revision; in quotes it is the `ETag`."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        id = self.id

        identity_id = self.identity_id

        status: str = self.status

        role_assignments = []
        for role_assignments_item_data in self.role_assignments:
            role_assignments_item = role_assignments_item_data.to_dict()
            role_assignments.append(role_assignments_item)

        last_sign_in_at: None | str
        if isinstance(self.last_sign_in_at, datetime.datetime):
            last_sign_in_at = self.last_sign_in_at.isoformat()
        else:
            last_sign_in_at = self.last_sign_in_at

        created_at = self.created_at.isoformat()

        updated_at = self.updated_at.isoformat()

        revision = self.revision

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "id": id,
                "identity_id": identity_id,
                "status": status,
                "role_assignments": role_assignments,
                "last_sign_in_at": last_sign_in_at,
                "created_at": created_at,
                "updated_at": updated_at,
                "revision": revision,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.role_assignment import RoleAssignment

        d = dict(src_dict)
        id = d.pop("id")

        identity_id = d.pop("identity_id")

        status = check_administrator_status(d.pop("status"))

        role_assignments = []
        _role_assignments = d.pop("role_assignments")
        for role_assignments_item_data in _role_assignments:
            role_assignments_item = RoleAssignment.from_dict(role_assignments_item_data)

            role_assignments.append(role_assignments_item)

        def _parse_last_sign_in_at(data: object) -> datetime.datetime | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                last_sign_in_at_type_0 = datetime.datetime.fromisoformat(data)

                return last_sign_in_at_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None, data)

        last_sign_in_at = _parse_last_sign_in_at(d.pop("last_sign_in_at"))

        created_at = datetime.datetime.fromisoformat(d.pop("created_at"))

        updated_at = datetime.datetime.fromisoformat(d.pop("updated_at"))

        revision = d.pop("revision")

        return cls(
            id=id,
            identity_id=identity_id,
            status=status,
            role_assignments=role_assignments,
            last_sign_in_at=last_sign_in_at,
            created_at=created_at,
            updated_at=updated_at,
            revision=revision,
        )
