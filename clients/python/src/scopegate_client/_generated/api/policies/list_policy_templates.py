"""GET /api/v1/policies/templates"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ...._call import Call, JsonObject, anything, entity_tag, nothing, path_of, sent_body, encode
from ...types import UNSET, Unset

from typing import cast
from ...models.policy_templates import PolicyTemplates



def call(
    
) -> Call[PolicyTemplates]:
    """The request."""
    return Call(
        operation="list_policy_templates",
        method="GET",
        path="/api/v1/policies/templates",
        read=PolicyTemplates.from_dict,
    )
