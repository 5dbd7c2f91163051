from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from attrs import define

from ..models.identity_kind import IdentityKind, check_identity_kind
from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.identity_attributes import IdentityAttributes
    from ..models.policy_test_owner import PolicyTestOwner


@define(kw_only=True)
class PolicyTestIdentity:
    """The caller: an existing identity by its id, or a described one."""

    id: None | str | Unset = UNSET
    """An existing identity; then leave out all other fields."""

    groups: list[str] | Unset = UNSET
    """The groups that it is in."""

    attributes: IdentityAttributes | Unset = UNSET
    """Attributes of an identity that policies can read, by name."""

    kind: IdentityKind | Unset = UNSET
    """An `agent` has a person as its owner."""

    owner: None | PolicyTestOwner | Unset = UNSET
    """Its owner, if it is an agent."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        from ..models.policy_test_owner import PolicyTestOwner

        id: None | str | Unset
        if isinstance(self.id, Unset):
            id = UNSET
        else:
            id = self.id

        groups: list[str] | Unset = UNSET
        if not isinstance(self.groups, Unset):
            groups = self.groups

        attributes: dict[str, Any] | Unset = UNSET
        if not isinstance(self.attributes, Unset):
            attributes = self.attributes.to_dict()

        kind: str | Unset = UNSET
        if not isinstance(self.kind, Unset):
            kind = self.kind

        owner: dict[str, Any] | None | Unset
        if isinstance(self.owner, Unset):
            owner = UNSET
        elif isinstance(self.owner, PolicyTestOwner):
            owner = self.owner.to_dict()
        else:
            owner = self.owner

        field_dict: dict[str, Any] = {}
        field_dict.update({})
        if id is not UNSET:
            field_dict["id"] = id
        if groups is not UNSET:
            field_dict["groups"] = groups
        if attributes is not UNSET:
            field_dict["attributes"] = attributes
        if kind is not UNSET:
            field_dict["kind"] = kind
        if owner is not UNSET:
            field_dict["owner"] = owner
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.identity_attributes import IdentityAttributes
        from ..models.policy_test_owner import PolicyTestOwner

        d = dict(src_dict)

        def _parse_id(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        id = _parse_id(d.pop("id", UNSET))

        groups = cast(list[str], d.pop("groups", UNSET))

        _attributes = d.pop("attributes", UNSET)
        attributes: IdentityAttributes | Unset
        if isinstance(_attributes, Unset):
            attributes = UNSET
        else:
            attributes = IdentityAttributes.from_dict(_attributes)

        _kind = d.pop("kind", UNSET)
        kind: IdentityKind | Unset
        if isinstance(_kind, Unset):
            kind = UNSET
        else:
            kind = check_identity_kind(_kind)

        def _parse_owner(data: object) -> None | PolicyTestOwner | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                owner_type_0 = PolicyTestOwner.from_dict(data)

                return owner_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(None | PolicyTestOwner | Unset, data)

        owner = _parse_owner(d.pop("owner", UNSET))

        return cls(
            id=id,
            groups=groups,
            attributes=attributes,
            kind=kind,
            owner=owner,
        )
