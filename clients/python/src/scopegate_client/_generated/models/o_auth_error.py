from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from attrs import define


@define(kw_only=True)
class OAuthError:
    """RFC 6749 section 5.2."""

    error: str
    """The error code of RFC 6749."""

    error_description: str
    """What is wrong, and how to correct it."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        error = self.error

        error_description = self.error_description

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "error": error,
                "error_description": error_description,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        error = d.pop("error")

        error_description = d.pop("error_description")

        return cls(
            error=error,
            error_description=error_description,
        )
