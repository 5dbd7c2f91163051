"""POST /api/v1/tools"""

from __future__ import annotations

from ...._call import (
    Call,
    JsonObject,
    sent_body,
)
from ...models.json_schema import JsonSchema
from ...models.risk import Risk
from ...models.tool import Tool
from ...models.tool_annotations import ToolAnnotations
from ...types import UNSET, Unset


def call(
    *,
    server_id: str,
    name: str,
    input_schema: JsonSchema | JsonObject,
    title: str | None | Unset = UNSET,
    description: str | None | Unset = UNSET,
    output_schema: JsonSchema | JsonObject | None | Unset = UNSET,
    annotations: ToolAnnotations | JsonObject | None | Unset = UNSET,
    risk: Risk | None | Unset = UNSET,
    idempotency_key: str | None = None,
) -> Call[Tool]:
    """The request."""
    return Call(
        operation="create_tool",
        method="POST",
        path="/api/v1/tools",
        takes_key=True,
        idempotency_key=idempotency_key,
        json=sent_body(
            {
                "server_id": server_id,
                "name": name,
                "input_schema": input_schema,
                "title": title,
                "description": description,
                "output_schema": output_schema,
                "annotations": annotations,
                "risk": risk,
            }
        ),
        read=Tool.from_dict,
    )
