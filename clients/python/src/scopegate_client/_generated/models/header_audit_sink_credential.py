from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self, cast

from attrs import define
from attrs import field as attrs_field

from ...secret import Secret


@define(kw_only=True)
class HeaderAuditSinkCredential:
    """A header of the receiver's choice, as ``Authorization: Splunk <token>``."""

    kind: Literal["header"] = "header"

    name: str
    """The header's name."""

    value: Secret = attrs_field(converter=Secret)

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        kind = self.kind

        name = self.name

        value = self.value

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "kind": kind,
                "name": name,
                "value": value,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        kind = cast(Literal["header"], d.pop("kind"))
        if kind != "header":
            raise ValueError(f"kind must match const 'header', got '{kind}'")

        name = d.pop("name")

        value = Secret(d.pop("value"))

        return cls(
            kind=kind,
            name=name,
            value=value,
        )
