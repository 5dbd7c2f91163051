from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, cast

from attrs import define


@define(kw_only=True)
class ApprovalToken:
    """The token that was used."""

    id: str
    """The id of a token."""

    name: None | str
    """The name of the token."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        id = self.id

        name: None | str
        name = self.name

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "id": id,
                "name": name,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        id = d.pop("id")

        def _parse_name(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        name = _parse_name(d.pop("name"))

        return cls(
            id=id,
            name=name,
        )
