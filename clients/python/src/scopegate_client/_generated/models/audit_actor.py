from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, cast

from attrs import define


@define(kw_only=True)
class AuditActor:
    """The actor. ``id`` is None for the system, the gateway and unknown callers."""

    type: str
    """`administrator`, `service_account`, `identity`, `break_glass`, `system`, `gateway` or `unknown`."""

    id: None | str
    """Its id; null for the system, the gateway and unknown callers."""

    name: None | str
    """Its current name."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        type_ = self.type

        id: None | str
        id = self.id

        name: None | str
        name = self.name

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "type": type_,
                "id": id,
                "name": name,
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

        def _parse_name(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        name = _parse_name(d.pop("name"))

        return cls(
            type=type_,
            id=id,
            name=name,
        )
