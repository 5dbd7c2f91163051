"""GET /api/v1/scheduled-offboardings"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ...._call import Call, JsonObject, anything, entity_tag, nothing, path_of, sent_body, encode
from ...types import UNSET, Unset

from ...types import UNSET, Unset
from ...types import UNSET, Unset
from typing import cast
from ...types import UNSET, Unset
from typing import cast
import datetime
from ...types import UNSET, Unset
from typing import cast
import datetime
from ...types import UNSET, Unset
from typing import cast
from ...models.scheduled_offboarding_status import ScheduledOffboardingStatus
from ...types import UNSET, Unset
from typing import cast
from typing import cast
from ...models.scheduled_offboarding_page import ScheduledOffboardingPage



def call(
    *,
    limit: int | None = None,
    cursor: str | None = None,
    created_after: datetime.datetime | None = None,
    created_before: datetime.datetime | None = None,
    identity_id: str | Sequence[str] | None = None,
    status: ScheduledOffboardingStatus | Sequence[ScheduledOffboardingStatus] | None = None,

) -> Call[ScheduledOffboardingPage]:
    """The request."""
    return Call(
        operation="list_scheduled_offboardings",
        method="GET",
        path="/api/v1/scheduled-offboardings",
        query={
            "limit": limit,
            "cursor": cursor,
            "created_after": created_after,
            "created_before": created_before,
            "identity_id": identity_id,
            "status": status,
        },
        read=ScheduledOffboardingPage.from_dict,
    )
