from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from attrs import define

from ..models.instructions_state import InstructionsState, check_instructions_state
from ..models.keep_arguments import KeepArguments, check_keep_arguments
from ..models.new_tools import NewTools, check_new_tools
from ..models.server_status import ServerStatus, check_server_status
from ..models.transport import Transport, check_transport

if TYPE_CHECKING:
    from ..models.credential_summary import CredentialSummary
    from ..models.labels import Labels
    from ..models.server_sync import ServerSync


@define(kw_only=True)
class Server:
    """A registered MCP server."""

    id: str
    """The id of a server."""

    slug: str
    """Part of `/mcp/{slug}` and prefix of tool names; never changes."""

    name: str
    """Its display name."""

    description: None | str
    """What it is for."""

    labels: Labels
    """Labels by key."""

    owner_group_id: None | str
    """The group whose members maintain it."""

    transport: Transport
    """`streamable_http`: a server at a URL; `stdio`: a command on the gateway's host."""

    url: None | str
    """The streamable HTTP endpoint."""

    command: None | str
    """The program of a `stdio` server, by its absolute path."""

    args: list[str] | None
    """Its arguments."""

    env_names: list[str] | None
    """The names of its environment variables."""

    status: ServerStatus
    """A `disabled` server is not listed and cannot be called."""

    new_tools: NewTools
    """The state of new tools in later syncs: `quarantine` holds them until they are approved."""

    keep_arguments: KeepArguments
    """Which arguments are recorded: none, those of calls that need an approval, or all."""

    requestable: bool
    """Whether every signed-in person sees the server and its tools by name, and may request access to it.
    The members of its `owner_group_id` decide such requests."""

    sync: ServerSync
    """The last attempt to read the server's tools."""

    instructions: InstructionsState
    """Whether the server has instructions, and whether clients get them."""

    tool_count: int
    """Tools that are active or quarantined."""

    credential: CredentialSummary | None
    """The server's own credential, without those of identities."""

    created_at: datetime.datetime
    """The time of creation."""

    updated_at: datetime.datetime
    """The time of the last change."""

    ended_at: datetime.datetime | None
    """The time of the end; null before it."""

    revision: int
    """The number of the current revision; in quotes it is the `ETag`."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        from ..models.credential_summary import CredentialSummary

        id = self.id

        slug = self.slug

        name = self.name

        description: None | str
        description = self.description

        labels = self.labels.to_dict()

        owner_group_id: None | str
        owner_group_id = self.owner_group_id

        transport: str = self.transport

        url: None | str
        url = self.url

        command: None | str
        command = self.command

        args: list[str] | None
        if isinstance(self.args, list):
            args = self.args

        else:
            args = self.args

        env_names: list[str] | None
        if isinstance(self.env_names, list):
            env_names = self.env_names

        else:
            env_names = self.env_names

        status: str = self.status

        new_tools: str = self.new_tools

        keep_arguments: str = self.keep_arguments

        requestable = self.requestable

        sync = self.sync.to_dict()

        instructions: str = self.instructions

        tool_count = self.tool_count

        credential: dict[str, Any] | None
        if isinstance(self.credential, CredentialSummary):
            credential = self.credential.to_dict()
        else:
            credential = self.credential

        created_at = self.created_at.isoformat()

        updated_at = self.updated_at.isoformat()

        ended_at: None | str
        if isinstance(self.ended_at, datetime.datetime):
            ended_at = self.ended_at.isoformat()
        else:
            ended_at = self.ended_at

        revision = self.revision

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "id": id,
                "slug": slug,
                "name": name,
                "description": description,
                "labels": labels,
                "owner_group_id": owner_group_id,
                "transport": transport,
                "url": url,
                "command": command,
                "args": args,
                "env_names": env_names,
                "status": status,
                "new_tools": new_tools,
                "keep_arguments": keep_arguments,
                "requestable": requestable,
                "sync": sync,
                "instructions": instructions,
                "tool_count": tool_count,
                "credential": credential,
                "created_at": created_at,
                "updated_at": updated_at,
                "ended_at": ended_at,
                "revision": revision,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.credential_summary import CredentialSummary
        from ..models.labels import Labels
        from ..models.server_sync import ServerSync

        d = dict(src_dict)
        id = d.pop("id")

        slug = d.pop("slug")

        name = d.pop("name")

        def _parse_description(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        description = _parse_description(d.pop("description"))

        labels = Labels.from_dict(d.pop("labels"))

        def _parse_owner_group_id(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        owner_group_id = _parse_owner_group_id(d.pop("owner_group_id"))

        transport = check_transport(d.pop("transport"))

        def _parse_url(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        url = _parse_url(d.pop("url"))

        def _parse_command(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        command = _parse_command(d.pop("command"))

        def _parse_args(data: object) -> list[str] | None:
            if data is None:
                return data
            try:
                if not isinstance(data, list):
                    raise TypeError()
                args_type_0 = cast(list[str], data)

                return args_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(list[str] | None, data)

        args = _parse_args(d.pop("args"))

        def _parse_env_names(data: object) -> list[str] | None:
            if data is None:
                return data
            try:
                if not isinstance(data, list):
                    raise TypeError()
                env_names_type_0 = cast(list[str], data)

                return env_names_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(list[str] | None, data)

        env_names = _parse_env_names(d.pop("env_names"))

        status = check_server_status(d.pop("status"))

        new_tools = check_new_tools(d.pop("new_tools"))

        keep_arguments = check_keep_arguments(d.pop("keep_arguments"))

        requestable = d.pop("requestable")

        sync = ServerSync.from_dict(d.pop("sync"))

        instructions = check_instructions_state(d.pop("instructions"))

        tool_count = d.pop("tool_count")

        def _parse_credential(data: object) -> CredentialSummary | None:
            if data is None:
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                credential_type_0 = CredentialSummary.from_dict(data)

                return credential_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(CredentialSummary | None, data)

        credential = _parse_credential(d.pop("credential"))

        created_at = datetime.datetime.fromisoformat(d.pop("created_at"))

        updated_at = datetime.datetime.fromisoformat(d.pop("updated_at"))

        def _parse_ended_at(data: object) -> datetime.datetime | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                ended_at_type_0 = datetime.datetime.fromisoformat(data)

                return ended_at_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None, data)

        ended_at = _parse_ended_at(d.pop("ended_at"))

        revision = d.pop("revision")

        return cls(
            id=id,
            slug=slug,
            name=name,
            description=description,
            labels=labels,
            owner_group_id=owner_group_id,
            transport=transport,
            url=url,
            command=command,
            args=args,
            env_names=env_names,
            status=status,
            new_tools=new_tools,
            keep_arguments=keep_arguments,
            requestable=requestable,
            sync=sync,
            instructions=instructions,
            tool_count=tool_count,
            credential=credential,
            created_at=created_at,
            updated_at=updated_at,
            ended_at=ended_at,
            revision=revision,
        )
