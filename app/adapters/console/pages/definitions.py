"""What a tool says it is, laid out to be read: its parameters, its schemas as text, and what of it changed."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from app.adapters.console.visible import visible
from app.features.tools.schemas import ToolChanges, ToolView

# More than is written out at once, while others wait.
_LONG = 2_000
_HINTS = {
    ("readOnlyHint", True): "says that it changes nothing",
    ("readOnlyHint", False): "says that it changes something",
    ("destructiveHint", True): "says that it may destroy something",
    ("destructiveHint", False): "says that it destroys nothing",
    ("idempotentHint", True): "says that calling it twice is as once",
    ("idempotentHint", False): "says that calling it twice is not as once",
    ("openWorldHint", True): "says that it reaches what is outside of the server",
    ("openWorldHint", False): "says that it stays within the server",
}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument that a tool takes, as its schema has it."""

    name: str
    type: str
    required: bool
    description: str


@dataclass(frozen=True, slots=True)
class Difference:
    """One member of a definition that is another than was approved; ``None`` where there is none."""

    kind: str
    pointer: str
    before: Markup | None
    after: Markup | None


async def laid_out(tool: ToolView) -> dict[str, Any]:
    """A definition as its page shows it."""
    return {
        "parameters": parameters_of(tool.input_schema),
        "hints": hints_of(tool.annotations or {}),
        "input_text": await shown(tool.input_schema),
        "output_text": None if tool.output_schema is None else await shown(tool.output_schema),
        "annotations_text": None if tool.annotations is None else await shown(tool.annotations),
    }


async def differences(changes: ToolChanges) -> list[Difference]:
    """What waits to be approved beside what was approved."""
    return [
        Difference(
            one.kind,
            one.pointer,
            None if one.kind == "added" else await shown(one.before),
            None if one.kind == "removed" else await shown(one.after),
        )
        for one in changes.changes
    ]


async def shown(value: Any) -> Markup:
    """JSON as text, every odd character visible; a text alone without its quotes."""
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
    return await asyncio.to_thread(visible, text) if len(text) > _LONG else visible(text)


def parameters_of(schema: Mapping[str, Any]) -> list[Parameter]:
    """The arguments that a schema names, as far as it is as schemas of tools are."""
    properties, required = schema.get("properties"), schema.get("required")
    if not isinstance(properties, Mapping):
        return []
    needed = {name for name in required if isinstance(name, str)} if isinstance(required, list) else set()
    return [
        Parameter(name, _type(one), name in needed, _text(one, "description"))
        for name, one in properties.items()
    ]


def hints_of(annotations: Mapping[str, Any]) -> list[str]:
    """What the hints of a server say, in words."""
    return [words for (name, value), words in _HINTS.items() if annotations.get(name) is value]


def _type(schema: Any) -> str:
    if not isinstance(schema, Mapping):
        return "anything"
    kind = schema.get("type")
    if isinstance(kind, list):
        return " or ".join(str(one) for one in kind)
    if isinstance(schema.get("enum"), list):
        return "one of " + ", ".join(json.dumps(one, ensure_ascii=False) for one in schema["enum"])
    return kind if isinstance(kind, str) else "see the schema"


def _text(schema: Any, member: str) -> str:
    text = schema.get(member) if isinstance(schema, Mapping) else None
    return text if isinstance(text, str) else ""
