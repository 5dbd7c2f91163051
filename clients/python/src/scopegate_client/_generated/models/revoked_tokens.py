from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, cast

from attrs import define


@define(kw_only=True)
class RevokedTokens:
    """What was revoked, or would be under `dry_run`."""

    tokens: list[str]
    """The tokens."""

    in_flight: int
    """Running calls of these tokens, which are cut. Counted among the newest 2,000."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        tokens = self.tokens

        in_flight = self.in_flight

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "tokens": tokens,
                "in_flight": in_flight,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        tokens = cast(list[str], d.pop("tokens"))

        in_flight = d.pop("in_flight")

        return cls(
            tokens=tokens,
            in_flight=in_flight,
        )
