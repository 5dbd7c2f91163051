from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, cast

from attrs import define

from ..types import UNSET, Unset


@define(kw_only=True)
class ProblemError:
    """One invalid field."""

    pointer: str
    """JSON pointer into the body (RFC 6901), or `?name` of a query parameter."""

    code: str
    """The kind of error, stable, snake_case."""

    detail: str
    """The error, and how to correct it."""

    line: int | None | Unset = UNSET
    """In a text of several lines, the line, from 1."""

    column: int | None | Unset = UNSET
    """In a text of several lines, the column, from 1."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        pointer = self.pointer

        code = self.code

        detail = self.detail

        line: int | None | Unset
        if isinstance(self.line, Unset):
            line = UNSET
        else:
            line = self.line

        column: int | None | Unset
        if isinstance(self.column, Unset):
            column = UNSET
        else:
            column = self.column

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "pointer": pointer,
                "code": code,
                "detail": detail,
            }
        )
        if line is not UNSET:
            field_dict["line"] = line
        if column is not UNSET:
            field_dict["column"] = column
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        pointer = d.pop("pointer")

        code = d.pop("code")

        detail = d.pop("detail")

        def _parse_line(data: object) -> int | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(int | None | Unset, data)

        line = _parse_line(d.pop("line", UNSET))

        def _parse_column(data: object) -> int | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(int | None | Unset, data)

        column = _parse_column(d.pop("column", UNSET))

        return cls(
            pointer=pointer,
            code=code,
            detail=detail,
            line=line,
            column=column,
        )
