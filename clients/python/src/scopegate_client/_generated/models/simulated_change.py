from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, cast

from attrs import define

from ..models.policy_mode import PolicyMode, check_policy_mode
from ..types import UNSET, Unset


@define(kw_only=True)
class SimulatedChange:
    """One change to the published policies. With only `policy_id`, its current draft."""

    policy_id: None | str | Unset = UNSET
    """The policy; absent: a new one with the `text`."""

    text: None | str | Unset = UNSET
    """The text to publish; absent: the draft."""

    mode: None | PolicyMode | Unset = UNSET
    """The mode to publish with; absent: that of the draft."""

    remove: bool | Unset = False
    """Unpublish it."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        policy_id: None | str | Unset
        if isinstance(self.policy_id, Unset):
            policy_id = UNSET
        else:
            policy_id = self.policy_id

        text: None | str | Unset
        if isinstance(self.text, Unset):
            text = UNSET
        else:
            text = self.text

        mode: None | str | Unset
        if isinstance(self.mode, Unset):
            mode = UNSET
        elif isinstance(self.mode, str):
            mode = self.mode
        else:
            mode = self.mode

        remove = self.remove

        field_dict: dict[str, Any] = {}
        field_dict.update({})
        if policy_id is not UNSET:
            field_dict["policy_id"] = policy_id
        if text is not UNSET:
            field_dict["text"] = text
        if mode is not UNSET:
            field_dict["mode"] = mode
        if remove is not UNSET:
            field_dict["remove"] = remove
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)

        def _parse_policy_id(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        policy_id = _parse_policy_id(d.pop("policy_id", UNSET))

        def _parse_text(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        text = _parse_text(d.pop("text", UNSET))

        def _parse_mode(data: object) -> None | PolicyMode | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                mode_type_0 = check_policy_mode(data)

                return mode_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(None | PolicyMode | Unset, data)

        mode = _parse_mode(d.pop("mode", UNSET))

        remove = d.pop("remove", UNSET)

        return cls(
            policy_id=policy_id,
            text=text,
            mode=mode,
            remove=remove,
        )
