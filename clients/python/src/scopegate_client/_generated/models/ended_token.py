from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from attrs import define


@define(kw_only=True)
class EndedToken:
    """A token that ended, with its holder."""

    id: str
    """The id of a token."""

    identity_id: str
    """The id of an identity."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        id = self.id

        identity_id = self.identity_id

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "id": id,
                "identity_id": identity_id,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        id = d.pop("id")

        identity_id = d.pop("identity_id")

        return cls(
            id=id,
            identity_id=identity_id,
        )
