"""POST /api/v1/access/explain"""

from __future__ import annotations

import datetime

from ...._call import (
    Call,
    JsonObject,
    sent_body,
)
from ...models.access_explanation import AccessExplanation
from ...models.asked_arguments import AskedArguments
from ...models.asking_client import AskingClient
from ...models.server_part import ServerPart
from ...types import UNSET, Unset


def call(
    *,
    identity_id: str | None | Unset = UNSET,
    token_id: str | None | Unset = UNSET,
    event_id: str | None | Unset = UNSET,
    server: str | None | Unset = UNSET,
    tool: str | None | Unset = UNSET,
    part: ServerPart | None | Unset = UNSET,
    arguments: AskedArguments | JsonObject | None | Unset = UNSET,
    at: datetime.datetime | None | Unset = UNSET,
    ip: str | None | Unset = UNSET,
    client: AskingClient | JsonObject | None | Unset = UNSET,
) -> Call[AccessExplanation]:
    """The request."""
    return Call(
        operation="explain_access",
        method="POST",
        path="/api/v1/access/explain",
        json=sent_body(
            {
                "identity_id": identity_id,
                "token_id": token_id,
                "event_id": event_id,
                "server": server,
                "tool": tool,
                "part": part,
                "arguments": arguments,
                "at": at,
                "ip": ip,
                "client": client,
            }
        ),
        read=AccessExplanation.from_dict,
    )
