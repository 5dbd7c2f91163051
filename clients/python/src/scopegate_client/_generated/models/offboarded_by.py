from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, cast

from attrs import define


@define(kw_only=True)
class OffboardedBy:
    """The caller that requested an offboarding."""

    type: str
    """As in audit events."""

    id: None | str
    """Null for the system itself."""

    on_behalf_of: None | str
    """The person who signed in, or the owner of the program."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        type_ = self.type

        id: None | str
        id = self.id

        on_behalf_of: None | str
        on_behalf_of = self.on_behalf_of

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "type": type_,
                "id": id,
                "on_behalf_of": on_behalf_of,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        type_ = d.pop("type")

        def _parse_id(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        id = _parse_id(d.pop("id"))

        def _parse_on_behalf_of(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        on_behalf_of = _parse_on_behalf_of(d.pop("on_behalf_of"))

        return cls(
            type=type_,
            id=id,
            on_behalf_of=on_behalf_of,
        )
