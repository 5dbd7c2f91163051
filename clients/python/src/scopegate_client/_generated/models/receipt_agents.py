from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, cast

from attrs import define


@define(kw_only=True)
class ReceiptAgents:
    """The former agents of the person."""

    suspended: list[str]
    """Agents without an active owner."""

    transferred: list[str]
    """Agents that were transferred to another person."""

    transferred_to: None | str
    """The new owner of the transferred agents."""

    heir_not_active: None | str
    """The intended new owner, who could not have them when the time came, so they were suspended."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        suspended = self.suspended

        transferred = self.transferred

        transferred_to: None | str
        transferred_to = self.transferred_to

        heir_not_active: None | str
        heir_not_active = self.heir_not_active

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "suspended": suspended,
                "transferred": transferred,
                "transferred_to": transferred_to,
                "heir_not_active": heir_not_active,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        suspended = cast(list[str], d.pop("suspended"))

        transferred = cast(list[str], d.pop("transferred"))

        def _parse_transferred_to(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        transferred_to = _parse_transferred_to(d.pop("transferred_to"))

        def _parse_heir_not_active(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        heir_not_active = _parse_heir_not_active(d.pop("heir_not_active"))

        return cls(
            suspended=suspended,
            transferred=transferred,
            transferred_to=transferred_to,
            heir_not_active=heir_not_active,
        )
