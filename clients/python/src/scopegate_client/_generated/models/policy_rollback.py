from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from attrs import define


@define(kw_only=True)
class PolicyRollback:
    """The earlier version to publish again."""

    version: int
    """A version that was published before."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        version = self.version

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "version": version,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        version = d.pop("version")

        return cls(
            version=version,
        )
