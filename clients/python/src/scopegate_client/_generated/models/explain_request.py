from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from attrs import define

from ..models.server_part import ServerPart, check_server_part
from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.asked_arguments import AskedArguments
    from ..models.asking_client import AskingClient


@define(kw_only=True)
class ExplainRequest:
    """A call to explain: a possible one, or one that was decided, by `event_id`."""

    identity_id: None | str | Unset = UNSET
    """The caller, with the widest possible token."""

    token_id: None | str | Unset = UNSET
    """The token of the call."""

    event_id: None | str | Unset = UNSET
    """The audit event of the decision. The call is decided again as of its time, with its arguments if
    they were kept."""

    server: None | str | Unset = UNSET
    """The slug or the id of the server."""

    tool: None | str | Unset = UNSET
    """The name of the tool; absent: access to the server."""

    part: None | ServerPart | Unset = UNSET
    """The resources or prompts, instead of a tool."""

    arguments: AskedArguments | None | Unset = UNSET
    """The arguments of the call. Without them, policies that read arguments are skipped."""

    at: datetime.datetime | None | Unset = UNSET
    """The time to ask about; now by default."""

    ip: None | str | Unset = UNSET
    """The client address of the call."""

    client: AskingClient | None | Unset = UNSET
    """The client program of the call."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        from ..models.asked_arguments import AskedArguments
        from ..models.asking_client import AskingClient

        identity_id: None | str | Unset
        if isinstance(self.identity_id, Unset):
            identity_id = UNSET
        else:
            identity_id = self.identity_id

        token_id: None | str | Unset
        if isinstance(self.token_id, Unset):
            token_id = UNSET
        else:
            token_id = self.token_id

        event_id: None | str | Unset
        if isinstance(self.event_id, Unset):
            event_id = UNSET
        else:
            event_id = self.event_id

        server: None | str | Unset
        if isinstance(self.server, Unset):
            server = UNSET
        else:
            server = self.server

        tool: None | str | Unset
        if isinstance(self.tool, Unset):
            tool = UNSET
        else:
            tool = self.tool

        part: None | str | Unset
        if isinstance(self.part, Unset):
            part = UNSET
        elif isinstance(self.part, str):
            part = self.part
        else:
            part = self.part

        arguments: dict[str, Any] | None | Unset
        if isinstance(self.arguments, Unset):
            arguments = UNSET
        elif isinstance(self.arguments, AskedArguments):
            arguments = self.arguments.to_dict()
        else:
            arguments = self.arguments

        at: None | str | Unset
        if isinstance(self.at, Unset):
            at = UNSET
        elif isinstance(self.at, datetime.datetime):
            at = self.at.isoformat()
        else:
            at = self.at

        ip: None | str | Unset
        if isinstance(self.ip, Unset):
            ip = UNSET
        else:
            ip = self.ip

        client: dict[str, Any] | None | Unset
        if isinstance(self.client, Unset):
            client = UNSET
        elif isinstance(self.client, AskingClient):
            client = self.client.to_dict()
        else:
            client = self.client

        field_dict: dict[str, Any] = {}
        field_dict.update({})
        if identity_id is not UNSET:
            field_dict["identity_id"] = identity_id
        if token_id is not UNSET:
            field_dict["token_id"] = token_id
        if event_id is not UNSET:
            field_dict["event_id"] = event_id
        if server is not UNSET:
            field_dict["server"] = server
        if tool is not UNSET:
            field_dict["tool"] = tool
        if part is not UNSET:
            field_dict["part"] = part
        if arguments is not UNSET:
            field_dict["arguments"] = arguments
        if at is not UNSET:
            field_dict["at"] = at
        if ip is not UNSET:
            field_dict["ip"] = ip
        if client is not UNSET:
            field_dict["client"] = client
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.asked_arguments import AskedArguments
        from ..models.asking_client import AskingClient

        d = dict(src_dict)

        def _parse_identity_id(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        identity_id = _parse_identity_id(d.pop("identity_id", UNSET))

        def _parse_token_id(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        token_id = _parse_token_id(d.pop("token_id", UNSET))

        def _parse_event_id(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        event_id = _parse_event_id(d.pop("event_id", UNSET))

        def _parse_server(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        server = _parse_server(d.pop("server", UNSET))

        def _parse_tool(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        tool = _parse_tool(d.pop("tool", UNSET))

        def _parse_part(data: object) -> None | ServerPart | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                part_type_0 = check_server_part(data)

                return part_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(None | ServerPart | Unset, data)

        part = _parse_part(d.pop("part", UNSET))

        def _parse_arguments(data: object) -> AskedArguments | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                arguments_type_0 = AskedArguments.from_dict(data)

                return arguments_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(AskedArguments | None | Unset, data)

        arguments = _parse_arguments(d.pop("arguments", UNSET))

        def _parse_at(data: object) -> datetime.datetime | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                at_type_0 = datetime.datetime.fromisoformat(data)

                return at_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None | Unset, data)

        at = _parse_at(d.pop("at", UNSET))

        def _parse_ip(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        ip = _parse_ip(d.pop("ip", UNSET))

        def _parse_client(data: object) -> AskingClient | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                client_type_0 = AskingClient.from_dict(data)

                return client_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(AskingClient | None | Unset, data)

        client = _parse_client(d.pop("client", UNSET))

        return cls(
            identity_id=identity_id,
            token_id=token_id,
            event_id=event_id,
            server=server,
            tool=tool,
            part=part,
            arguments=arguments,
            at=at,
            ip=ip,
            client=client,
        )
