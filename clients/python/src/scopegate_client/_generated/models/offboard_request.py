from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, Self, cast

from attrs import define

from ..types import UNSET, Unset


@define(kw_only=True)
class OffboardRequest:
    """The reason of the offboarding, the new owner of the agents, and the time."""

    reason: str
    """The reason. Stored with the receipt and the ended tokens, not in the audit log."""

    transfer_agents_to: None | str | Unset = UNSET
    """An active person. Without one, the agents are suspended and their tokens end."""

    effective_at: datetime.datetime | None | Unset = UNSET
    """When it should happen, at most a year ahead. Without it, or with a past time, it happens now. An
    offboarding that is already scheduled is replaced."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        reason = self.reason

        transfer_agents_to: None | str | Unset
        if isinstance(self.transfer_agents_to, Unset):
            transfer_agents_to = UNSET
        else:
            transfer_agents_to = self.transfer_agents_to

        effective_at: None | str | Unset
        if isinstance(self.effective_at, Unset):
            effective_at = UNSET
        elif isinstance(self.effective_at, datetime.datetime):
            effective_at = self.effective_at.isoformat()
        else:
            effective_at = self.effective_at

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "reason": reason,
            }
        )
        if transfer_agents_to is not UNSET:
            field_dict["transfer_agents_to"] = transfer_agents_to
        if effective_at is not UNSET:
            field_dict["effective_at"] = effective_at
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        reason = d.pop("reason")

        def _parse_transfer_agents_to(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        transfer_agents_to = _parse_transfer_agents_to(d.pop("transfer_agents_to", UNSET))

        def _parse_effective_at(data: object) -> datetime.datetime | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                effective_at_type_0 = datetime.datetime.fromisoformat(data)

                return effective_at_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None | Unset, data)

        effective_at = _parse_effective_at(d.pop("effective_at", UNSET))

        return cls(
            reason=reason,
            transfer_agents_to=transfer_agents_to,
            effective_at=effective_at,
        )
