from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, cast

from attrs import define

from ..models.risk import Risk, check_risk
from ..models.settable_tool_state import SettableToolState, check_settable_tool_state
from ..types import UNSET, Unset


@define(kw_only=True)
class ToolUpdate:
    """The manual changes to a tool; its definition comes from the server."""

    risk: None | Risk | Unset = UNSET
    """Null: from the approved definition."""

    state: SettableToolState | Unset = UNSET
    """`quarantined` holds a tool until it is set to active again."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        risk: None | str | Unset
        if isinstance(self.risk, Unset):
            risk = UNSET
        elif isinstance(self.risk, str):
            risk = self.risk
        else:
            risk = self.risk

        state: str | Unset = UNSET
        if not isinstance(self.state, Unset):
            state = self.state

        field_dict: dict[str, Any] = {}
        field_dict.update({})
        if risk is not UNSET:
            field_dict["risk"] = risk
        if state is not UNSET:
            field_dict["state"] = state
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)

        def _parse_risk(data: object) -> None | Risk | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                risk_type_0 = check_risk(data)

                return risk_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(None | Risk | Unset, data)

        risk = _parse_risk(d.pop("risk", UNSET))

        _state = d.pop("state", UNSET)
        state: SettableToolState | Unset
        if isinstance(_state, Unset):
            state = UNSET
        else:
            state = check_settable_tool_state(_state)

        return cls(
            risk=risk,
            state=state,
        )
