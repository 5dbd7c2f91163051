from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from attrs import define


@define(kw_only=True)
class SelectorWarning:
    """An entry of a selector or scope that matches nothing now. The change was made anyway."""

    pointer: str
    """JSON pointer into the grant or token."""

    code: str
    """`no_server`, `no_tool`, `unknown_tool`, `empty_scope`, or `not_granted`: no live grant of the
    identity reaches it."""

    detail: str
    """A description."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        pointer = self.pointer

        code = self.code

        detail = self.detail

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "pointer": pointer,
                "code": code,
                "detail": detail,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        pointer = d.pop("pointer")

        code = d.pop("code")

        detail = d.pop("detail")

        return cls(
            pointer=pointer,
            code=code,
            detail=detail,
        )
