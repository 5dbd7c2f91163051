from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self, cast

from attrs import define
from attrs import field as attrs_field

from ...secret import Secret


@define(kw_only=True)
class BearerAuditSinkCredential:
    """``Authorization: Bearer <token>``."""

    kind: Literal["bearer"] = "bearer"

    token: Secret = attrs_field(converter=Secret)

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        kind = self.kind

        token = self.token

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "kind": kind,
                "token": token,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        kind = cast(Literal["bearer"], d.pop("kind"))
        if kind != "bearer":
            raise ValueError(f"kind must match const 'bearer', got '{kind}'")

        token = Secret(d.pop("token"))

        return cls(
            kind=kind,
            token=token,
        )
