from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from attrs import define
from attrs import field as attrs_field

from ...secret import Secret, optional_secret
from ..types import UNSET, Unset


@define(kw_only=True)
class SignalStreamRequest:
    """Settings for a transmitter, in addition to the receiver's address and event types."""

    push_secret: Secret | Unset = attrs_field(default=UNSET, converter=optional_secret)

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        push_secret: Secret | Unset = UNSET
        if not isinstance(self.push_secret, Unset):
            push_secret = self.push_secret

        field_dict: dict[str, Any] = {}
        field_dict.update({})
        if push_secret is not UNSET:
            field_dict["push_secret"] = push_secret
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        _push_secret = d.pop("push_secret", UNSET)
        push_secret: Secret | Unset
        if isinstance(_push_secret, Unset):
            push_secret = UNSET
        else:
            push_secret = Secret(_push_secret)

        return cls(
            push_secret=push_secret,
        )
