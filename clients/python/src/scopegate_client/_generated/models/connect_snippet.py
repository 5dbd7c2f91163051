from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from attrs import define


@define(kw_only=True)
class ConnectSnippet:
    """Text to paste, and its destination."""

    format: str
    """`shell`, `json` or `toml`."""

    where: str
    """The file to put it in, or the terminal."""

    text: str
    """The text."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        format_ = self.format

        where = self.where

        text = self.text

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "format": format_,
                "where": where,
                "text": text,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        format_ = d.pop("format")

        where = d.pop("where")

        text = d.pop("text")

        return cls(
            format=format_,
            where=where,
            text=text,
        )
