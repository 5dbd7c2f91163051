from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, Self, cast

from attrs import define

from ..models.sync_state import SyncState, check_sync_state


@define(kw_only=True)
class ServerSync:
    """The last attempt to read the server's tools."""

    state: SyncState
    """The result of the last sync; `running`: a requested one has not ended."""

    at: datetime.datetime | None
    """The start of the last completed attempt."""

    error: None | str
    """The error; with state `ok`, the malformed tools that were left out."""

    protocol_versions: list[str]
    """The MCP versions at the last successful sync, newest first."""

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
