from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, Literal, Self, cast, TYPE_CHECKING

from attrs import define
from attrs import field as attrs_field

from ..types import UNSET, Unset









@define(kw_only=True)
class RenderedPolicy:
    """The text of a policy, to be looked at and kept."""


    text: str
    """Exactly one Cedar statement."""


    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        text = self.text

        field_dict: dict[str, Any] = {}
        field_dict.update({
            "text": text,
        })
        return field_dict


    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        text = d.pop("text")

        return cls(
            text=text,
        )

