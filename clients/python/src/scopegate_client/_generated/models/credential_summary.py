from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, Self

from attrs import define

from ..models.upstream_credential_kind import (
    UpstreamCredentialKind,
    check_upstream_credential_kind,
)


@define(kw_only=True)
class CredentialSummary:
    """The kind of a stored credential, without its content."""

    kind: UpstreamCredentialKind
    """The credential in calls to the server, or in the environment of its program."""

    updated_at: datetime.datetime
    """The time of the last change."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        kind: str = self.kind

        updated_at = self.updated_at.isoformat()

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "kind": kind,
                "updated_at": updated_at,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        kind = check_upstream_credential_kind(d.pop("kind"))

        updated_at = datetime.datetime.fromisoformat(d.pop("updated_at"))

        return cls(
            kind=kind,
            updated_at=updated_at,
        )
