"""POST /api/v1/servers"""

from __future__ import annotations

from collections.abc import Sequence

from ...._call import (
    Call,
    JsonObject,
    sent_body,
)
from ...models.keep_arguments import KeepArguments
from ...models.labels import Labels
from ...models.new_tools import NewTools
from ...models.server import Server
from ...models.server_status import ServerStatus
from ...models.transport import Transport
from ...types import UNSET, Unset


def call(
    *,
    slug: str,
    name: str | None | Unset = UNSET,
    description: str | None | Unset = UNSET,
    labels: Labels | JsonObject | Unset = UNSET,
    owner_group_id: str | None | Unset = UNSET,
    transport: Transport | Unset = UNSET,
    url: str | None | Unset = UNSET,
    command: str | None | Unset = UNSET,
    args: Sequence[str] | None | Unset = UNSET,
    env_names: Sequence[str] | None | Unset = UNSET,
    status: ServerStatus | Unset = UNSET,
    new_tools: NewTools | Unset = UNSET,
    keep_arguments: KeepArguments | Unset = UNSET,
    requestable: bool | Unset = UNSET,
    idempotency_key: str | None = None,
) -> Call[Server]:
    """The request."""
    return Call(
        operation="create_server",
        method="POST",
        path="/api/v1/servers",
        takes_key=True,
        idempotency_key=idempotency_key,
        json=sent_body(
            {
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
            }
        ),
        read=Server.from_dict,
    )
