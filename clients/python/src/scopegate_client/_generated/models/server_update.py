from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from attrs import define

from ..models.keep_arguments import KeepArguments, check_keep_arguments
from ..models.new_tools import NewTools, check_new_tools
from ..models.server_status import ServerStatus, check_server_status
from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.label_changes import LabelChanges


@define(kw_only=True)
class ServerUpdate:
    """The fields of a server that can change; its slug and transport cannot. Null removes a label."""

    name: str | Unset = UNSET
    """Its display name."""

    description: None | str | Unset = UNSET
    """What it is for."""

    labels: LabelChanges | Unset = UNSET
    """Labels to set by key; null removes a label."""

    owner_group_id: None | str | Unset = UNSET
    """The id of a group."""

    url: str | Unset = UNSET
    """The origin can change only while no credential is stored."""

    command: str | Unset = UNSET
    """For a `stdio` server; only while no credential is stored."""

    args: list[str] | Unset = UNSET
    """The same."""

    env_names: list[str] | Unset = UNSET
    """The same."""

    status: ServerStatus | Unset = UNSET
    """A `disabled` server is not listed and cannot be called."""

    new_tools: NewTools | Unset = UNSET
    """The state of new tools in later syncs: `quarantine` holds them until they are approved."""

    keep_arguments: KeepArguments | Unset = UNSET
    """Which arguments are recorded: none, those of calls that need an approval, or all."""

    requestable: bool | Unset = UNSET
    """Whether every signed-in person sees the server and its tools by name, and may request access to it.
    The members of its `owner_group_id` decide such requests."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        name = self.name

        description: None | str | Unset
        if isinstance(self.description, Unset):
            description = UNSET
        else:
            description = self.description

        labels: dict[str, Any] | Unset = UNSET
        if not isinstance(self.labels, Unset):
            labels = self.labels.to_dict()

        owner_group_id: None | str | Unset
        if isinstance(self.owner_group_id, Unset):
            owner_group_id = UNSET
        else:
            owner_group_id = self.owner_group_id

        url = self.url

        command = self.command

        args: list[str] | Unset = UNSET
        if not isinstance(self.args, Unset):
            args = self.args

        env_names: list[str] | Unset = UNSET
        if not isinstance(self.env_names, Unset):
            env_names = self.env_names

        status: str | Unset = UNSET
        if not isinstance(self.status, Unset):
            status = self.status

        new_tools: str | Unset = UNSET
        if not isinstance(self.new_tools, Unset):
            new_tools = self.new_tools

        keep_arguments: str | Unset = UNSET
        if not isinstance(self.keep_arguments, Unset):
            keep_arguments = self.keep_arguments

        requestable = self.requestable

        field_dict: dict[str, Any] = {}
        field_dict.update({})
        if name is not UNSET:
            field_dict["name"] = name
        if description is not UNSET:
            field_dict["description"] = description
        if labels is not UNSET:
            field_dict["labels"] = labels
        if owner_group_id is not UNSET:
            field_dict["owner_group_id"] = owner_group_id
        if url is not UNSET:
            field_dict["url"] = url
        if command is not UNSET:
            field_dict["command"] = command
        if args is not UNSET:
            field_dict["args"] = args
        if env_names is not UNSET:
            field_dict["env_names"] = env_names
        if status is not UNSET:
            field_dict["status"] = status
        if new_tools is not UNSET:
            field_dict["new_tools"] = new_tools
        if keep_arguments is not UNSET:
            field_dict["keep_arguments"] = keep_arguments
        if requestable is not UNSET:
            field_dict["requestable"] = requestable
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.label_changes import LabelChanges

        d = dict(src_dict)
        name = d.pop("name", UNSET)

        def _parse_description(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        description = _parse_description(d.pop("description", UNSET))

        _labels = d.pop("labels", UNSET)
        labels: LabelChanges | Unset
        if isinstance(_labels, Unset):
            labels = UNSET
        else:
            labels = LabelChanges.from_dict(_labels)

        def _parse_owner_group_id(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        owner_group_id = _parse_owner_group_id(d.pop("owner_group_id", UNSET))

        url = d.pop("url", UNSET)

        command = d.pop("command", UNSET)

        args = cast(list[str], d.pop("args", UNSET))

        env_names = cast(list[str], d.pop("env_names", UNSET))

        _status = d.pop("status", UNSET)
        status: ServerStatus | Unset
        if isinstance(_status, Unset):
            status = UNSET
        else:
            status = check_server_status(_status)

        _new_tools = d.pop("new_tools", UNSET)
        new_tools: NewTools | Unset
        if isinstance(_new_tools, Unset):
            new_tools = UNSET
        else:
            new_tools = check_new_tools(_new_tools)

        _keep_arguments = d.pop("keep_arguments", UNSET)
        keep_arguments: KeepArguments | Unset
        if isinstance(_keep_arguments, Unset):
            keep_arguments = UNSET
        else:
            keep_arguments = check_keep_arguments(_keep_arguments)

        requestable = d.pop("requestable", UNSET)

        return cls(
            name=name,
            description=description,
            labels=labels,
            owner_group_id=owner_group_id,
            url=url,
            command=command,
            args=args,
            env_names=env_names,
            status=status,
            new_tools=new_tools,
            keep_arguments=keep_arguments,
            requestable=requestable,
        )
