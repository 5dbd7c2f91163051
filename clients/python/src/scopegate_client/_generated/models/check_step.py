from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, cast

from attrs import define

from ..models.check_state import CheckState, check_check_state
from ..models.checked_thing import CheckedThing, check_checked_thing
from ..types import UNSET, Unset


@define(kw_only=True)
class CheckStep:
    """One step of a check, with its result."""

    name: CheckedThing
    """The subject of a step: the given `secret`; the `token` and those it was attenuated from; their
    `identity` and its owner; the client `address` of the check; the `access` of the token; one
    `server`; or the `last_denial` within a week."""

    state: CheckState
    """`ok`: as it should be; `warn`: it works, but look at it; `fail`: it does not work."""

    code: str
    """The result, as a stable code, snake_case; `ok` for success."""

    detail: str
    """The result in words."""

    remedy: None | str | Unset = UNSET
    """What to do about it."""

    server_id: None | str | Unset = UNSET
    """The server of the step."""

    server: None | str | Unset = UNSET
    """Its slug."""

    duration_ms: int | None | Unset = UNSET
    """The response time of the server."""

    event_id: None | str | Unset = UNSET
    """The audit event of the refusal."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        name: str = self.name

        state: str = self.state

        code = self.code

        detail = self.detail

        remedy: None | str | Unset
        if isinstance(self.remedy, Unset):
            remedy = UNSET
        else:
            remedy = self.remedy

        server_id: None | str | Unset
        if isinstance(self.server_id, Unset):
            server_id = UNSET
        else:
            server_id = self.server_id

        server: None | str | Unset
        if isinstance(self.server, Unset):
            server = UNSET
        else:
            server = self.server

        duration_ms: int | None | Unset
        if isinstance(self.duration_ms, Unset):
            duration_ms = UNSET
        else:
            duration_ms = self.duration_ms

        event_id: None | str | Unset
        if isinstance(self.event_id, Unset):
            event_id = UNSET
        else:
            event_id = self.event_id

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "name": name,
                "state": state,
                "code": code,
                "detail": detail,
            }
        )
        if remedy is not UNSET:
            field_dict["remedy"] = remedy
        if server_id is not UNSET:
            field_dict["server_id"] = server_id
        if server is not UNSET:
            field_dict["server"] = server
        if duration_ms is not UNSET:
            field_dict["duration_ms"] = duration_ms
        if event_id is not UNSET:
            field_dict["event_id"] = event_id
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        d = dict(src_dict)
        name = check_checked_thing(d.pop("name"))

        state = check_check_state(d.pop("state"))

        code = d.pop("code")

        detail = d.pop("detail")

        def _parse_remedy(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        remedy = _parse_remedy(d.pop("remedy", UNSET))

        def _parse_server_id(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        server_id = _parse_server_id(d.pop("server_id", UNSET))

        def _parse_server(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        server = _parse_server(d.pop("server", UNSET))

        def _parse_duration_ms(data: object) -> int | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(int | None | Unset, data)

        duration_ms = _parse_duration_ms(d.pop("duration_ms", UNSET))

        def _parse_event_id(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        event_id = _parse_event_id(d.pop("event_id", UNSET))

        return cls(
            name=name,
            state=state,
            code=code,
            detail=detail,
            remedy=remedy,
            server_id=server_id,
            server=server,
            duration_ms=duration_ms,
            event_id=event_id,
        )
