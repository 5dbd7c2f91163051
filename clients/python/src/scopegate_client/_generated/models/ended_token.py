from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, Literal, Self, cast, TYPE_CHECKING

from attrs import define
from attrs import field as attrs_field

from ..types import UNSET, Unset









@define(kw_only=True)
class EndedToken:
    """A token that ended, and whose it was."""


    id: str
    """The id of a token."""

    identity_id: str
    """The id of an identity."""


    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        id = self.id

        identity_id = self.identity_id

        field_dict: dict[str, Any] = {}
        field_dict.update({
            "id": id,
            "identity_id": identity_id,
        })
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

