from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from attrs import define
from attrs import field as attrs_field

from ...secret import Secret


@define(kw_only=True)
class BreakGlassSignIn:
    """The break-glass password, and the reason for its use."""

    password: Secret = attrs_field(converter=Secret)

    reason: str
    """Stored with the session as its reason."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        password = self.password

        reason = self.reason

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "password": password,
                "reason": reason,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        password = Secret(d.pop("password"))

        reason = d.pop("reason")

        return cls(
            password=password,
            reason=reason,
        )
