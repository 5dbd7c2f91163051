from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, Self, cast

from attrs import define

from ..models.upstream_credential_kind import (
    UpstreamCredentialKind,
    check_upstream_credential_kind,
)


@define(kw_only=True)
class UpstreamCredential:
    """A stored credential, without its secret."""

    server_id: str
    """The id of a server."""

    identity_id: None | str
    """The identity whose calls carry it; null: all other calls."""

    kind: UpstreamCredentialKind
    """The credential in calls to the server, or in the environment of its program."""

    origin: str
    """The only origin that it is sent to; for a `stdio` server, a digest of its command."""

    updated_at: datetime.datetime
    """The time of the last change."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        server_id = self.server_id

        identity_id: None | str
        identity_id = self.identity_id

        kind: str = self.kind

        origin = self.origin

        updated_at = self.updated_at.isoformat()

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "server_id": server_id,
                "identity_id": identity_id,
                "kind": kind,
                "origin": origin,
                "updated_at": updated_at,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        server_id = d.pop("server_id")

        def _parse_identity_id(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        identity_id = _parse_identity_id(d.pop("identity_id"))

        kind = check_upstream_credential_kind(d.pop("kind"))

        origin = d.pop("origin")

        updated_at = datetime.datetime.fromisoformat(d.pop("updated_at"))

        return cls(
            server_id=server_id,
            identity_id=identity_id,
            kind=kind,
            origin=origin,
            updated_at=updated_at,
        )
