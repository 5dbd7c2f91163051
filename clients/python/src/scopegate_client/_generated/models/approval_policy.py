from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, cast

from attrs import define


@define(kw_only=True)
class ApprovalPolicy:
    """A policy that requires this approval."""

    id: str
    """The id of a policy."""

    version: int
    """The version that required it."""

    name: None | str
    """The current name of the policy."""

    reason: None | str
    """Its annotation `@reason`."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        id = self.id

        version = self.version

        name: None | str
        name = self.name

        reason: None | str
        reason = self.reason

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "id": id,
                "version": version,
                "name": name,
                "reason": reason,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        id = d.pop("id")

        version = d.pop("version")

        def _parse_name(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        name = _parse_name(d.pop("name"))

        def _parse_reason(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        reason = _parse_reason(d.pop("reason"))

        return cls(
            id=id,
            version=version,
            name=name,
            reason=reason,
        )
