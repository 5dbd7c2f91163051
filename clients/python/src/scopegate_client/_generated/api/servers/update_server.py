"""PATCH /api/v1/servers/{server_id}"""

from __future__ import annotations

from collections.abc import Sequence

from ...._call import (
    Call,
    JsonObject,
    entity_tag,
    path_of,
    sent_body,
)
from ...models.keep_arguments import KeepArguments
from ...models.label_changes import LabelChanges
from ...models.new_tools import NewTools
from ...models.server import Server
from ...models.server_status import ServerStatus
from ...types import UNSET, Unset


def call(
    server_id: str,
    *,
    name: str | Unset = UNSET,
    description: str | None | Unset = UNSET,
    labels: LabelChanges | JsonObject | Unset = UNSET,
    owner_group_id: str | None | Unset = UNSET,
    url: str | Unset = UNSET,
    command: str | Unset = UNSET,
    args: Sequence[str] | Unset = UNSET,
    env_names: Sequence[str] | Unset = UNSET,
    status: ServerStatus | Unset = UNSET,
    new_tools: NewTools | Unset = UNSET,
    keep_arguments: KeepArguments | Unset = UNSET,
    requestable: bool | Unset = UNSET,
    if_match: int | str | None = None,
) -> Call[Server]:
    """The request."""
    return Call(
        operation="update_server",
        method="PATCH",
        path=path_of(
            "/api/v1/servers/{server_id}",
            server_id=server_id,
        ),
        headers={
            "If-Match": entity_tag(if_match),
        },
        json=sent_body(
            {
                "name": name,
                "description": description,
                "labels": labels,
                "owner_group_id": owner_group_id,
                "url": url,
                "command": command,
                "args": args,
                "env_names": env_names,
                "status": status,
                "new_tools": new_tools,
                "keep_arguments": keep_arguments,
                "requestable": requestable,
            }
        ),
        read=Server.from_dict,
    )
