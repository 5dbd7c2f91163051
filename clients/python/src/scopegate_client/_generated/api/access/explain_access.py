"""POST /api/v1/access/explain"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ...._call import Call, JsonObject, anything, entity_tag, nothing, path_of, sent_body, encode
from ...types import UNSET, Unset
from ...types import UNSET, Unset
from typing import cast
from ...types import UNSET, Unset
from typing import cast
from ...types import UNSET, Unset
from typing import cast
from ...types import UNSET, Unset
from typing import cast
from ...types import UNSET, Unset
from typing import cast
from ...types import UNSET, Unset
from typing import cast
from ...models.server_part import ServerPart
from ...types import UNSET, Unset
from typing import cast
from ...models.asked_arguments import AskedArguments
from ...types import UNSET, Unset
from typing import cast
import datetime
from ...types import UNSET, Unset
from typing import cast
from ...types import UNSET, Unset
from typing import cast
from ...models.asking_client import AskingClient

from typing import cast
from ...models.access_explanation import AccessExplanation



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
