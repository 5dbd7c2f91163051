from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, cast

from attrs import define

from ..types import UNSET, Unset


@define(kw_only=True)
class OffboardRequest:
    """Why somebody leaves, and who answers for their agents from now on."""

    reason: str
    """Why; it is kept with the receipt and with the tokens that end, not in the audit trail."""

    transfer_agents_to: None | str | Unset = UNSET
    """An active person. Without one, the agents are suspended and their tokens end."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        reason = self.reason

        transfer_agents_to: None | str | Unset
        if isinstance(self.transfer_agents_to, Unset):
            transfer_agents_to = UNSET
        else:
            transfer_agents_to = self.transfer_agents_to

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "reason": reason,
            }
        )
        if transfer_agents_to is not UNSET:
            field_dict["transfer_agents_to"] = transfer_agents_to
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

        return cls(
            reason=reason,
            transfer_agents_to=transfer_agents_to,
        )
