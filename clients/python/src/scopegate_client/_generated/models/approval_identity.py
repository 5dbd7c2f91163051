from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, cast

from attrs import define

from ..models.identity_kind import IdentityKind, check_identity_kind


@define(kw_only=True)
class ApprovalIdentity:
    """The requester: the identity whose token was used, or that gets the access."""

    id: str
    """The id of an identity."""

    kind: IdentityKind
    """An `agent` has a person as its owner."""

    name: None | str
    """Its current name; null once it is erased."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        id = self.id

        kind: str = self.kind

        name: None | str
        name = self.name

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "id": id,
                "kind": kind,
                "name": name,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        id = d.pop("id")

        kind = check_identity_kind(d.pop("kind"))

        def _parse_name(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        name = _parse_name(d.pop("name"))

        return cls(
            id=id,
            kind=kind,
            name=name,
        )
