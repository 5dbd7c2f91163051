from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, Self, cast

from attrs import define

from ..models.sync_state import SyncState, check_sync_state


@define(kw_only=True)
class ServerSync:
    """How reading the server's tools went, the last time it was tried."""

    state: SyncState
    """How the last sync went; `running`: one that was asked for has not ended."""

    at: datetime.datetime | None
    """When the last attempt that has ended began."""

    error: None | str
    """Why it failed; with state `ok`, which tools were left out for being malformed."""

    protocol_versions: list[str]
    """MCP versions it spoke when a sync last went well, newest first."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        state: str = self.state

        at: None | str
        if isinstance(self.at, datetime.datetime):
            at = self.at.isoformat()
        else:
            at = self.at

        error: None | str
        error = self.error

        protocol_versions = self.protocol_versions

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "state": state,
                "at": at,
                "error": error,
                "protocol_versions": protocol_versions,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        state = check_sync_state(d.pop("state"))

        def _parse_at(data: object) -> datetime.datetime | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                at_type_0 = datetime.datetime.fromisoformat(data)

                return at_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None, data)

        at = _parse_at(d.pop("at"))

        def _parse_error(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        error = _parse_error(d.pop("error"))

        protocol_versions = cast(list[str], d.pop("protocol_versions"))

        return cls(
            state=state,
            at=at,
            error=error,
            protocol_versions=protocol_versions,
        )
