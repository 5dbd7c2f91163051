from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, cast

from attrs import define


@define(kw_only=True)
class AuditedServer:
    """The server of the request."""

    id: str
    """The id of a server."""

    slug: None | str
    """Its slug now."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        id = self.id

        slug: None | str
        slug = self.slug

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "id": id,
                "slug": slug,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        id = d.pop("id")

        def _parse_slug(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        slug = _parse_slug(d.pop("slug"))

        return cls(
            id=id,
            slug=slug,
        )
