from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, cast

from attrs import define

from ..models.caller_type import CallerType, check_caller_type
from ..models.permission import Permission, check_permission
from ..models.role import Role, check_role


@define(kw_only=True)
class Me:
    """The caller of this request."""

    type: CallerType
    """The type of the caller."""

    id: str
    """The id of an object of this type; of a session for `break_glass`."""

    name: None | str
    """Its current name."""

    identity_id: None | str
    """The person who signed in, or the owner of a service account. Null for `break_glass`."""

    role: None | Role
    """The strongest of the roles."""

    roles: list[Role]
    """The roles, by name."""

    permissions: list[Permission]
    """The permissions of the roles, sorted."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        type_: str = self.type

        id = self.id

        name: None | str
        name = self.name

        identity_id: None | str
        identity_id = self.identity_id

        role: None | str
        if isinstance(self.role, str):
            role = self.role
        else:
            role = self.role

        roles = []
        for roles_item_data in self.roles:
            roles_item: str = roles_item_data
            roles.append(roles_item)

        permissions = []
        for permissions_item_data in self.permissions:
            permissions_item: str = permissions_item_data
            permissions.append(permissions_item)

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "type": type_,
                "id": id,
                "name": name,
                "identity_id": identity_id,
                "role": role,
                "roles": roles,
                "permissions": permissions,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        type_ = check_caller_type(d.pop("type"))

        id = d.pop("id")

        def _parse_name(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        name = _parse_name(d.pop("name"))

        def _parse_identity_id(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        identity_id = _parse_identity_id(d.pop("identity_id"))

        def _parse_role(data: object) -> None | Role:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                role_type_0 = check_role(data)

                return role_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(None | Role, data)

        role = _parse_role(d.pop("role"))

        roles = []
        _roles = d.pop("roles")
        for roles_item_data in _roles:
            roles_item = check_role(roles_item_data)

            roles.append(roles_item)

        permissions = []
        _permissions = d.pop("permissions")
        for permissions_item_data in _permissions:
            permissions_item = check_permission(permissions_item_data)

            permissions.append(permissions_item)

        return cls(
            type=type_,
            id=id,
            name=name,
            identity_id=identity_id,
            role=role,
            roles=roles,
            permissions=permissions,
        )
