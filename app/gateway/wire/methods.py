"""The methods that a mirror carries, by era: what each is on record, and which part of a server it uses.

A method that is not here is refused, never forwarded.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntFlag
from typing import Any

from app.domain.objects import Part
from app.gateway.wire.envelope import Message
from app.gateway.wire.refusals import invalid_params


@dataclass(frozen=True, slots=True)
class Method:
    """One method. ``names`` is the parameter that says what of the part is meant."""

    action: str
    part: Part | None = None
    names: str | None = None


_BOTH: Mapping[str, Method] = {
    "tools/list": Method("tools.list"),
    "tools/call": Method("tool.call"),
    "prompts/list": Method("prompts.list", Part.PROMPTS),
    "prompts/get": Method("prompt.get", Part.PROMPTS, "name"),
    "resources/list": Method("resources.list", Part.RESOURCES),
    "resources/templates/list": Method("resources.list", Part.RESOURCES),
    "resources/read": Method("resource.read", Part.RESOURCES, "uri"),
    "completion/complete": Method("completion.complete"),
}
MODERN: Mapping[str, Method] = {
    **_BOTH,
    "server/discover": Method("mcp.discover"),
    "subscriptions/listen": Method("mcp.listen"),
}
LEGACY: Mapping[str, Method] = {
    **_BOTH,
    "initialize": Method("mcp.initialize"),
    "logging/setLevel": Method("mcp.set_level"),
    "resources/subscribe": Method("resource.subscribe", Part.RESOURCES, "uri"),
    "resources/unsubscribe": Method("resource.unsubscribe", Part.RESOURCES, "uri"),
}
_TASKS: Mapping[str, Method] = {"tasks/get": Method("task.get"), "tasks/cancel": Method("task.cancel")}
MODERN_TASKS: Mapping[str, Method] = {**_TASKS, "tasks/update": Method("task.update")}
LEGACY_TASKS: Mapping[str, Method] = {**_TASKS, "tasks/result": Method("task.result")}
"""What is asked about a task. Not ``tasks/list``: a server cannot tell one token's tasks from another's."""
INTRODUCING = frozenset({"initialize", "server/discover", "subscriptions/listen"})
"""What is answered with, or filtered by, the parts that the token reaches."""

CLIENT_NOTIFICATIONS = frozenset(
    f"notifications/{name}" for name in ("initialized", "cancelled", "progress", "roots/list_changed")
)
SERVER_REQUESTS = frozenset({"ping", "roots/list", "sampling/createMessage", "elicitation/create"})
INPUT_REQUESTS = SERVER_REQUESTS - {"ping"}
TASKS_EXTENSION = "io.modelcontextprotocol/tasks"
"""What tasks are called in 2026-07-28: the one extension that is carried."""
INPUT_METHODS = frozenset({"tools/call", "prompts/get", "resources/read"})
"""What a modern server may answer with a request for input."""

SERVER_NOTIFICATIONS: Mapping[str, Part | None] = {
    "notifications/progress": None,
    "notifications/message": None,
    "notifications/cancelled": None,
    "notifications/elicitation/complete": None,
    "notifications/subscriptions/acknowledged": None,
    "notifications/tools/list_changed": None,
    "notifications/prompts/list_changed": Part.PROMPTS,
    "notifications/resources/list_changed": Part.RESOURCES,
    "notifications/resources/updated": Part.RESOURCES,
    "notifications/tasks/status": None,
    "notifications/tasks": None,
}
"""Each with the part that it tells of."""
TASK_NOTIFICATIONS: Mapping[str, bool] = {"notifications/tasks/status": False, "notifications/tasks": True}
"""Those that tell of a task, and whether each is of the modern era."""

_FLAGS = frozenset(
    "tools prompts resources logging completions listChanged subscribe tasks cancel requests call extensions roots "
    f"sampling context elicitation form url {TASKS_EXTENSION}".split()
)
_CLIENT_CAPABILITIES = ("roots", "sampling", "elicitation")
_REFERENCES = {"ref/prompt": (Part.PROMPTS, "name"), "ref/resource": (Part.RESOURCES, "uri")}


def part_of(method: Method, message: Message) -> Part | None:
    """Which part of a server a message uses. Raises ``Refused`` for a reference that is none."""
    return method.part if message.method != "completion/complete" else _referred(message)[0]


def _referred(message: Message) -> tuple[Part, dict[str, Any]]:
    """The part that a completion is about, and what of it. Raises ``Refused``."""
    ref = message.params.get("ref")
    reference = ref if isinstance(ref, dict) else {}
    kind = reference.get("type")
    found = _REFERENCES.get(kind) if isinstance(kind, str) else None
    if found is None:
        raise invalid_params("ref must be of the type ref/prompt or ref/resource.", message.modern)
    part, key = found
    value = reference.get(key)
    if not isinstance(value, str):
        raise invalid_params(f"{key} must be a string.", message.modern)
    return part, {key: value}


def named_by(method: Method, message: Message) -> dict[str, Any] | None:
    """What of the part is meant, for policy and the record. Raises ``Refused`` for a reference that is none."""
    if message.method == "completion/complete":
        return _referred(message)[1]
    value = None if method.names is None else message.params.get(method.names)
    return {method.names: value} if method.names is not None and isinstance(value, str) else None


def beside_name(message: Message) -> Any:
    """What a prompt is asked for with, which is as much of the request as its name is."""
    return message.params.get("arguments") if message.method == "prompts/get" else None


def client_capabilities(declared: Any, *, modern: bool = False) -> dict[str, Any]:
    """Of a client's capabilities those that the gateway carries: the server may ask for these, and no more."""
    if not declared or not isinstance(declared, dict):
        return {}
    kept = {key: declared[key] for key in _CLIENT_CAPABILITIES if isinstance(declared.get(key), dict)}
    return {**kept, **carried_extensions(declared)} if modern else kept


class Asks(IntFlag):
    """What a client said that it can be asked for."""

    NOTHING = 0
    ROOTS = 1
    SAMPLING = 2
    FORM = 4
    URL = 8


def asks_of(declared: Any) -> Asks:
    """What a client can be asked for, by its capabilities. ``elicitation: {}`` has always meant forms."""
    if not isinstance(declared, dict):
        return Asks.NOTHING
    asks = Asks.NOTHING
    if isinstance(declared.get("roots"), dict):
        asks |= Asks.ROOTS
    if isinstance(declared.get("sampling"), dict):
        asks |= Asks.SAMPLING
    elicitation = declared.get("elicitation")
    if isinstance(elicitation, dict):
        if isinstance(elicitation.get("url"), dict):
            asks |= Asks.URL
        if isinstance(elicitation.get("form"), dict) or "url" not in elicitation:
            asks |= Asks.FORM
    return asks


def flags_of(declared: dict[str, Any]) -> dict[str, Any]:
    """Of capabilities what says that something is there, and no text."""
    return {
        name: flags_of(value) if isinstance(value, dict) else value
        for name, value in declared.items()
        if name in _FLAGS and isinstance(value, (dict, bool))
    }


def carried_extensions(capabilities: dict[str, Any]) -> dict[str, Any]:
    """Of a side's extensions the one that the gateway carries, as a part of its capabilities."""
    extensions = capabilities.get("extensions")
    tasks = extensions.get(TASKS_EXTENSION) if isinstance(extensions, dict) else None
    return {"extensions": {TASKS_EXTENSION: tasks}} if isinstance(tasks, dict) else {}


def listened_for(wanted: Any, parts: frozenset[str]) -> dict[str, Any]:
    """Of the notifications that a client listens for those that its token may hear of."""
    keys = ["toolsListChanged"]
    if Part.PROMPTS in parts:
        keys.append("promptsListChanged")
    if Part.RESOURCES in parts:
        keys += ["resourcesListChanged", "resourceSubscriptions"]
    return {key: wanted[key] for key in keys if key in wanted}
