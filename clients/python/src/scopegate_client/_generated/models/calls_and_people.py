from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from attrs import define


@define(kw_only=True)
class CallsAndPeople:
    """A number of calls, and of the people and agents who made them."""

    calls: int
    """Calls."""

    identities: int
    """People and agents who made them."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        calls = self.calls

        identities = self.identities

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "calls": calls,
                "identities": identities,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        calls = d.pop("calls")

        identities = d.pop("identities")

        return cls(
            calls=calls,
            identities=identities,
        )
