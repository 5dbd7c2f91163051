from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from attrs import define

from ..models.role import Role, check_role
from ..models.service_account_status import (
    ServiceAccountStatus,
    check_service_account_status,
)
from ..types import UNSET, Unset


@define(kw_only=True)
class ServiceAccountUpdate:
    """The fields of a service account that can change."""

    name: str | Unset = UNSET
    """Its display name."""

    owner_id: str | Unset = UNSET
    """An active identity; a new owner makes a flagged account work again."""

    role: Role | Unset = UNSET
    """What a caller may do at the API, strongest first."""

    status: ServiceAccountStatus | Unset = UNSET
    """A `disabled` account cannot sign in, and its bearers do not work."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        name = self.name

        owner_id = self.owner_id

        role: str | Unset = UNSET
        if not isinstance(self.role, Unset):
            role = self.role

        status: str | Unset = UNSET
        if not isinstance(self.status, Unset):
            status = self.status

        field_dict: dict[str, Any] = {}
        field_dict.update({})
        if name is not UNSET:
            field_dict["name"] = name
        if owner_id is not UNSET:
            field_dict["owner_id"] = owner_id
        if role is not UNSET:
            field_dict["role"] = role
        if status is not UNSET:
            field_dict["status"] = status
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        name = d.pop("name", UNSET)

        owner_id = d.pop("owner_id", UNSET)

        _role = d.pop("role", UNSET)
        role: Role | Unset
        if isinstance(_role, Unset):
            role = UNSET
        else:
            role = check_role(_role)

        _status = d.pop("status", UNSET)
        status: ServiceAccountStatus | Unset
        if isinstance(_status, Unset):
            status = UNSET
        else:
            status = check_service_account_status(_status)

        return cls(
            name=name,
            owner_id=owner_id,
            role=role,
            status=status,
        )
