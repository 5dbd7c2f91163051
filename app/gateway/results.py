"""Changes to the results of an upstream: filtered lists and capabilities, task ids, and rounds of input.

A modern server that needs input answers with input requests and a state, and gets both back with the client's next
request. That request is decided like any other. The state is sealed for this token, server and method.

A task is a call that continues at the server after it was answered. The client's id of a task is sealed over token and
server and contains the tool's name. So every worker knows, without a store, the owner of the task and the access that a
request about it needs. A task always has the same id, because clients compare ids.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS

from app.admission.store import Store, View
from app.domain.definitions import PINNED_MEMBERS, definition_digest, text_digest
from app.domain.objects import Part, Server, Tool
from app.domain.visibility import EVERY_TOOL
from app.gateway.pipeline import InFlightCall
from app.gateway.sealed_ids import SessionSealer
from app.gateway.wire import messages
from app.gateway.wire.answers import (
    InputRequestRules,
    Rewrite,
    dump,
    filter_introduction,
    filter_item,
    filter_list,
)
from app.gateway.wire.messages import ClientFeatures, Message
from app.gateway.wire.refusals import MISSING_CAPABILITY, Refused, bad_upstream, invalid_params
from app.lib import strict_json

_TASK_SUPPORT = ("required", "optional", "forbidden")
LIST_TTL_MS = 0
"""Clients must not cache filtered lists, because a withdrawn tool would stay visible."""


def make_private(result: dict[str, Any]) -> None:
    """Mark an answer as private to this caller (MCP 2026-07-28, caching)."""
    result["cacheScope"] = "private"
    result["ttlMs"] = LIST_TTL_MS


def supported_capabilities(capabilities: Any, parts: Collection[str], *, modern: bool) -> dict[str, Any]:
    """Return the server capabilities that the gateway supports and the token can use."""
    if not isinstance(capabilities, dict):
        return {}
    reached = [part for part in Part if part in parts]
    kept = ["tools", "logging", *reached, *(["completions"] if reached else [])]
    supported = {key: value for key, value in capabilities.items() if key in kept and isinstance(value, dict)}
    return messages.keep_flags(
        {
            **supported,
            **(messages.supported_extensions(capabilities) if modern else _supported_tasks(capabilities)),
        }
    )


def shows_instructions(capabilities: Any, parts: Collection[str]) -> bool:
    """Whether to show a server's instructions. They describe all its parts, so the token must reach all of them."""
    declared = capabilities if isinstance(capabilities, dict) else {}
    return EVERY_TOOL in parts and all(part in parts for part in Part if part in declared)


def keep_approved_instructions(result: dict[str, Any], server: Server, store: Store) -> None:
    """Remove instructions that differ from the approved ones, because models follow them."""
    text = result.get("instructions")
    if text is None or (isinstance(text, str) and text_digest(text) == server.instructions):
        return
    del result["instructions"]
    store.request_sync(server.id)


def _supported_tasks(capabilities: dict[str, Any]) -> dict[str, Any]:
    """Return the supported task capabilities of a legacy server: tool calls as tasks, and their cancellation."""
    tasks = capabilities.get("tasks")
    requests = tasks.get("requests") if isinstance(tasks, dict) else None
    tools = requests.get("tools") if isinstance(requests, dict) else None
    if not isinstance(tasks, dict) or not isinstance(tools, dict) or not isinstance(tools.get("call"), dict):
        return {}
    cancel = {"cancel": tasks["cancel"]} if isinstance(tasks.get("cancel"), dict) else {}
    return {"tasks": {**cancel, "requests": {"tools": {"call": tools["call"]}}}}


def filter_tools(result: dict[str, Any], server: Server, names: frozenset[str], store: Store) -> None:
    """Keep the visible tools whose live definition is the approved one, in the server's order.

    An unknown tool or a definition drift requests a sync.
    """
    listed = result.get("tools")
    kept: list[Any] = []
    differs = False
    for item in listed if isinstance(listed, list) else []:
        name = item.get("name") if isinstance(item, dict) else None
        tool = server.tools.get(name) if isinstance(name, str) else None
        if tool is None:
            differs = True
        elif name in names:
            if is_approved(item, tool):
                kept.append(_definition(item))
            else:
                differs = True
    filter_list(result, "tools")
    result["tools"] = kept
    if differs:
        store.request_sync(server.id)


def _definition(item: dict[str, Any]) -> dict[str, Any]:
    """Return the approved members of a definition, and whether calls may be tasks."""
    definition = {name: item[name] for name in PINNED_MEMBERS if item.get(name) is not None}
    execution = item.get("execution")
    support = execution.get("taskSupport") if isinstance(execution, dict) else None
    return {**definition, "execution": {"taskSupport": support}} if support in _TASK_SUPPORT else definition


def is_approved(item: Mapping[str, object], tool: Tool) -> bool:
    """Whether a live definition is the approved one."""
    try:
        return definition_digest(item) == tool.approved_digest
    except ValueError:
        return False


@lru_cache(maxsize=256)
def handshake_versions(offered: tuple[str, ...]) -> tuple[str, ...]:
    """Return the offered versions that begin with ``initialize``, newest first."""
    return tuple([version for version in reversed(HANDSHAKE_PROTOCOL_VERSIONS) if version in offered])


RELATED = "io.modelcontextprotocol/related-task"
"""The ``_meta`` member with the task of a message, until 2025-11-25."""
MAX_TASK_ID = 256
"""Characters of a server's own task id."""
MAX_SHOWN = 4096
MAX_KEPT = 4_000
_PURPOSE = b"task"


@dataclass(frozen=True, slots=True)
class Task:
    """The server's own id of a task, and the tool that was called."""

    id: str
    tool: str


@dataclass(frozen=True, slots=True)
class TaskScope:
    """The token, server and session (if any) that a task belongs to."""

    token_id: UUID
    server_id: UUID
    session: bytes | None


class Tasks:
    """Seals and opens task ids, and remembers the tool of recent tasks of this worker.

    Notifications name a task but not its tool, so they need this memory. It may lose entries, because clients must not
    rely on notifications.
    """

    def __init__(self, sealer: SessionSealer) -> None:
        self._sealer = sealer
        self._tools: OrderedDict[tuple[TaskScope, str], str] = OrderedDict()

    def show(self, scope: TaskScope, id: object, tool: str) -> str:
        """Seal a task id for the client. Raises ``Refused`` for an invalid id."""
        if not isinstance(id, str) or not 0 < len(id) <= MAX_TASK_ID:
            raise _invalid_task_id()
        try:
            text = strict_json.dumps([id, tool])
        except ValueError:
            raise _invalid_task_id() from None
        self.remember(scope, Task(id, tool))
        return self._sealer.seal_name(scope.token_id, scope.server_id, text, _PURPOSE).decode()

    def open(self, token_id: UUID, server_id: UUID, shown: object) -> Task | None:
        """Open a client's task id; ``None`` for one of another token or server."""
        if not isinstance(shown, str) or not shown.isascii():
            return None
        opened = self._sealer.open_name(token_id, server_id, shown.encode(), _PURPOSE, MAX_SHOWN)
        if opened is None:
            return None
        parts: Any = strict_json.loads(opened)
        return Task(*parts)

    def open_related(self, token_id: UUID, server_id: UUID, meta: dict[str, Any]) -> None:
        """Replace the related task id of a client's message by the server's own, or remove an id of another token."""
        related = meta[RELATED]
        shown = related.get("taskId") if isinstance(related, dict) else None
        task = self.open(token_id, server_id, shown)
        if task is None:
            del meta[RELATED]
        else:
            related["taskId"] = task.id

    def find_tool(self, scope: TaskScope, id: object) -> str | None:
        """Return the tool of a remembered task."""
        return self._tools.get((scope, id)) if isinstance(id, str) else None

    def remember(self, scope: TaskScope, task: Task) -> None:
        """Remember a task."""
        self._tools[(scope, task.id)] = task.tool
        self._tools.move_to_end((scope, task.id))
        if len(self._tools) > MAX_KEPT:
            self._tools.popitem(last=False)


@dataclass(frozen=True, slots=True)
class ScopedTasks:
    """The tasks of one scope. ``tool`` is the tool of the current call or task."""

    tasks: Tasks
    scope: TaskScope
    tool: str | None = None

    def find_tool(self, id: object) -> str | None:
        """Return the tool of a task by the server's id."""
        return self.tool or self.tasks.find_tool(self.scope, id)

    def show(self, id: object) -> str:
        """Return the client's id for a server's task id. Raises ``Refused``."""
        tool = self.find_tool(id)
        if tool is None:
            raise bad_upstream("The server behind the gateway answered with an unexpected task.")
        return self.tasks.show(self.scope, id, tool)

    def show_related(self, meta: Any) -> bool:
        """Replace the related task id of a server's message by the client's, or remove an unknown one."""
        if not isinstance(meta, dict) or RELATED not in meta:
            return False
        related = meta[RELATED]
        id = related.get("taskId") if isinstance(related, dict) else None
        if not isinstance(id, str) or self.find_tool(id) is None:
            del meta[RELATED]
        else:
            related["taskId"] = self.show(id)
        return True

    def show_in_result(self, message: Message, result: dict[str, Any]) -> bool:
        """Replace task ids in a result by the client's; returns whether there was one. Raises ``Refused``."""
        changed = self.show_related(result.get("_meta"))
        holder = _task_holder(message, result)
        if holder is None:
            return changed
        id = holder.get("taskId")
        if id != message.params.get("taskId", id):
            raise bad_upstream("The server behind the gateway answered for another task.")
        holder["taskId"] = self.show(id)
        return True

    def open_all(self, wanted: Any) -> list[str]:
        """Return the server's ids of the requested tasks that belong to this token."""
        ids: list[str] = []
        for shown in wanted if isinstance(wanted, list) else ():
            task = self.tasks.open(self.scope.token_id, self.scope.server_id, shown)
            if task is not None:
                self.tasks.remember(self.scope, task)
                ids.append(task.id)
        return ids

    def show_all(self, acknowledged: Any) -> list[str]:
        """Return the client's ids of the tasks that the server acknowledged, without unknown ones."""
        listed = acknowledged if isinstance(acknowledged, list) else []
        return [self.show(id) for id in listed if self.find_tool(id) is not None]


def _task_holder(message: Message, result: dict[str, Any]) -> dict[str, Any] | None:
    """Return the object in a result that contains a task id."""
    is_task = message.modern and result.get("resultType") == "task"
    if message.method == "tools/call":
        holder = result if is_task else result.get("task")
    else:
        holder = result if is_task or message.method.startswith("tasks/") else None
    return holder if isinstance(holder, dict) and (is_task or "taskId" in holder) else None


def may_hold_task(message: Message, result: dict[str, Any]) -> bool:
    """Whether a result may contain a task id. Most do not."""
    meta = result.get("_meta")
    return (
        message.method != "tools/call"
        or "task" in result
        or result.get("resultType") == "task"
        or (isinstance(meta, dict) and RELATED in meta)
    )


def is_plain(result: dict[str, Any]) -> bool:
    """Whether the result of a modern ``tools/call`` passes unchanged: no request for input, and no task id."""
    meta, kind = result.get("_meta"), result.get("resultType")
    return (
        # A tuple, because the server may send a value that cannot be in a set.
        kind not in ("input_required", "task")
        and "inputRequests" not in result
        and "task" not in result
        and not (isinstance(meta, dict) and RELATED in meta)
    )


def _invalid_task_id() -> Refused:
    return bad_upstream("The server behind the gateway sent an invalid task id.")


def unknown_task(modern: bool) -> Refused:
    """Return the one answer for a task that does not exist, has another owner, or whose tool is out of reach."""
    return invalid_params("Task not found", modern)


def missing_tasks() -> Refused:
    """Return the answer to a modern client that asks about a task without the capability for tasks."""
    data: dict[str, Any] = {"requiredCapabilities": {"extensions": {messages.TASKS_EXTENSION: {}}}}
    return Refused(400, MISSING_CAPABILITY, "Missing required client capability", data=data)


MAX_STATE = 1024 * 1024
_INPUT_NOT_ALLOWED = "The server behind the gateway asked for input where that is not allowed."
_LISTS = {
    "prompts/list": "prompts",
    "resources/list": "resources",
    "resources/templates/list": "resourceTemplates",
}
_TASK_METHODS = frozenset({"tools/call", "tasks/get", "tasks/result", "tasks/cancel"})


def make_rewrite(
    message: Message,
    call: InFlightCall,
    sealer: SessionSealer,
    store: Store,
    tasks: Callable[[InFlightCall], ScopedTasks],
    input_rules: InputRequestRules,
    features: Callable[[], ClientFeatures],
) -> Rewrite:
    """Make the function that rewrites the result of a request. ``features``: what the client supports."""
    method = message.method
    if method == "tools/list":
        return _complete_rewrite(message, lambda result: filter_tools(result, call.server, call.names, store))
    if method in {"initialize", "server/discover"}:
        return _complete_rewrite(message, lambda result: _introduce(result, message, call, store))
    if method in _LISTS:
        return _complete_rewrite(message, lambda result: _keep_items(result, _LISTS[method]))
    if not message.modern and method not in _TASK_METHODS:
        return refuse_input_requests

    def rewrite(result: dict[str, Any]) -> bool:
        if not message.modern:
            refuse_input_requests(result)
        elif result.get("resultType") == "input_required":
            return pass_input_requests(result, message, call, sealer, input_rules, features())
        dropped = "inputRequests" in result and input_rules.check(result["inputRequests"], features())
        if method == "resources/read":
            make_private(result)
            return True
        if not may_hold_task(message, result):
            return dropped
        return tasks(call).show_in_result(message, result) or dropped

    return rewrite


def refuse_input_requests(result: dict[str, Any]) -> bool:
    """Refuse a result with input requests, which exist only since 2026-07-28. Raises ``Refused``."""
    if "inputRequests" in result or result.get("resultType") == "input_required":
        raise bad_upstream(_INPUT_NOT_ALLOWED)
    return False


def _complete_rewrite(message: Message, change: Callable[[dict[str, Any]], None]) -> Rewrite:
    def rewrite(result: dict[str, Any]) -> bool:
        if result.get("resultType", "complete") != "complete":
            raise bad_upstream(_INPUT_NOT_ALLOWED)
        change(result)
        if message.modern:
            make_private(result)
        return True

    return rewrite


def _keep_items(result: dict[str, Any], key: str) -> None:
    filter_list(result, key)
    if key in result:
        items = result[key] if isinstance(result[key], list) else []
        result[key] = [filter_item(key, item) for item in items if isinstance(item, dict)]


def _introduce(result: dict[str, Any], message: Message, call: InFlightCall, store: Store) -> None:
    parts = call.names
    filter_introduction(result)
    keep_approved_instructions(result, call.server, store)
    if not shows_instructions(result.get("capabilities"), parts):
        result.pop("instructions", None)
    result["capabilities"] = supported_capabilities(result.get("capabilities"), parts, modern=message.modern)
    offered = call.target.protocol_versions or messages.NEWEST_FIRST
    if message.modern:
        result["supportedVersions"] = list(offered)
    elif result.get("protocolVersion") not in offered:
        raise bad_upstream("The server behind the gateway changed its protocol versions.")


def pass_input_requests(
    result: dict[str, Any],
    message: Message,
    call: InFlightCall,
    sealer: SessionSealer,
    input_rules: InputRequestRules,
    features: ClientFeatures,
) -> bool:
    """Check the input requests in a result and seal its state. Raises ``Refused`` if one is not allowed."""
    if message.method not in messages.INPUT_METHODS or not message.modern:
        raise bad_upstream(_INPUT_NOT_ALLOWED)
    dropped = input_rules.check(result.get("inputRequests", {}), features)
    state = result.get("requestState")
    if state is not None and not isinstance(state, str):
        raise bad_upstream("The server behind the gateway sent a state that is not a string.")
    if call.approved:
        # The state proves that the next request continues this approved call.
        content = dump([state, call.id.hex])
    elif state is None:
        return dropped
    else:
        content = dump(state)
    sealed = sealer.seal(call.view.token.id, call.server.id, content, state_purpose(message))
    result["requestState"] = sealed.decode()
    return True


class Round(NamedTuple):
    """The previous round of a request: the server's own state, and the approved call that the request continues.

    ``foreign``: the state is of another token, server or method.
    """

    state: str | None = None
    continues: UUID | None = None
    foreign: bool = False

    def check(self) -> None:
        """Raise ``Refused`` for a foreign state. Called only for callers with access."""
        if self.foreign:
            raise invalid_params("Invalid or expired requestState", modern=True)


FIRST_ROUND = Round()


def open_state(message: Message, view: View, slug: str, sealer: SessionSealer) -> Round:
    """Replace the client's sealed state in a modern request by the server's own."""
    if not message.modern or "requestState" not in message.params:
        return FIRST_ROUND
    state, server = message.params.pop("requestState"), view.servers.get(slug)
    if state is None or server is None:
        # The server is not in reach, as far as this worker knows, so the state cannot be one of its own.
        return FIRST_ROUND
    opened = None
    if isinstance(state, str) and state.isascii():
        opened = sealer.open(view.token.id, server.id, state.encode(), state_purpose(message), MAX_STATE)
    if opened is None:
        return Round(foreign=True)
    content: Any = strict_json.loads(opened)
    previous = Round(content[0], UUID(hex=content[1])) if isinstance(content, list) else Round(content)
    if previous.state is not None:
        message.params["requestState"] = previous.state
    return previous


def state_purpose(message: Message) -> bytes:
    """Return the purpose that a state is sealed with."""
    name = message.params.get("uri" if message.method == "resources/read" else "name")
    return f"state:{message.method}:{name}".encode()
