"""POST /api/v1/policies/templates/{name}/render"""

from __future__ import annotations

from ...._call import (
    Call,
    JsonObject,
    path_of,
    sent_body,
)
from ...models.rendered_policy import RenderedPolicy


def call(
    name: str,
    fields: JsonObject,
) -> Call[RenderedPolicy]:
    """The request."""
    return Call(
        operation="render_policy_template",
        method="POST",
        path=path_of(
            "/api/v1/policies/templates/{name}/render",
            name=name,
        ),
        json=sent_body(fields),
        read=RenderedPolicy.from_dict,
    )
