from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from attrs import define


@define(kw_only=True)
class PolicyWarning:
    """A possible mistake in a policy, which does not prevent publishing."""

    code: str
    """A stable code, snake_case."""

    detail: str
    """A description."""

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
