from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self, cast

from attrs import define


@define(kw_only=True)
class IdentityPrincipal:
    """A person or agent that holds the grant itself."""

    type: Literal["identity"] = "identity"

    id: str
    """The id of an identity."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        type_ = self.type

        id = self.id

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "type": type_,
                "id": id,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        type_ = cast(Literal["identity"], d.pop("type"))
        if type_ != "identity":
            raise ValueError(f"type must match const 'identity', got '{type_}'")

        id = d.pop("id")

        return cls(
            type=type_,
            id=id,
        )
