from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, cast

from attrs import define


@define(kw_only=True)
class PolicyDiff:
    """The differences between two versions of a policy."""

    from_: str
    """The first version, or `draft`."""

    to: str
    """The second version, or `draft`."""

    text: str
    """The texts as a unified diff; empty when they are the same."""

    changed: list[str]
    """The fields that differ, among name, text, mode and tests."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        from_ = self.from_

        to = self.to

        text = self.text

        changed = self.changed

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "from": from_,
                "to": to,
                "text": text,
                "changed": changed,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        from_ = d.pop("from")

        to = d.pop("to")

        text = d.pop("text")

        changed = cast(list[str], d.pop("changed"))

        return cls(
            from_=from_,
            to=to,
            text=text,
            changed=changed,
        )
