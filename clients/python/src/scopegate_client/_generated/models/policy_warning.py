from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from attrs import define


@define(kw_only=True)
class PolicyWarning:
    """Something about a policy that may not be what was meant. It can be published all the same."""

    code: str
    """What it is, stable, snake_case."""

    detail: str
    """What it is, in words."""

    line: int
    """The line in the text, from 1."""

    column: int
    """The column in the text, from 1."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        code = self.code

        detail = self.detail

        line = self.line

        column = self.column

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "code": code,
                "detail": detail,
                "line": line,
                "column": column,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        code = d.pop("code")

        detail = d.pop("detail")

        line = d.pop("line")

        column = d.pop("column")

        return cls(
            code=code,
            detail=detail,
            line=line,
            column=column,
        )
