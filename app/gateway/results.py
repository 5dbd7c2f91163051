"""What is changed in the results of an upstream: lists and capabilities filtered, ids of tasks, rounds of input.

A modern server that needs input answers with its questions and a state, and gets both back with the client's next
request. That request is decided like any other. The state is sealed, so it is of use only to this token, for this
method of this server.

A task is a call that goes on at the server after it was answered. The id under which a client knows its task is sealed
over token and server and holds the tool's name. So every worker knows, without a store, whose task it is and which
right a request about it needs. The same task is shown under the same id each time, as clients compare ids.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS

from app.admission.store import SyncRequests, View
from app.domain.definitions import PINNED_MEMBERS, definition_digest, text_digest
from app.domain.objects import Part, Server, Tool
from app.domain.visibility import EVERY_TOOL
from app.gateway.pipeline import InFlightCall
from app.gateway.sealed_ids import SessionSealer
from app.gateway.wire.answers import (
    InputRequestRules,
    Rewrite,
    dump,
    filter_introduction,
    filter_item,
    filter_list,
)
from app.gateway.wire.messages import (
    INPUT_METHODS,
    NEWEST_FIRST,
    TASKS_EXTENSION,
    ClientFeatures,
    Message,
    carried_extensions,
    keep_flags,
)
from app.gateway.wire.refusals import MISSING_CAPABILITY, Refused, bad_upstream, invalid_params
from app.lib import strict_json

_TASK_SUPPORT = ("required", "optional", "forbidden")
LIST_TTL_MS = 0
"""How long a client may keep a filtered list: not at all, or a withdrawn tool would show until the list aged."""


def make_private(result: dict[str, Any]) -> None:
    """Say that a filtered answer is this caller's own (MCP 2026-07-28, caching)."""
    result["cacheScope"] = "private"
    result["ttlMs"] = LIST_TTL_MS


def carried_capabilities(capabilities: Any, parts: Collection[str], *, modern: bool) -> dict[str, Any]:
    """Of a server's capabilities those that the gateway carries and the token can use."""
    if not isinstance(capabilities, dict):
        return {}
    reached = [part for part in Part if part in parts]
    kept = ["tools", "logging", *reached, *(["completions"] if reached else [])]
    carried = {key: value for key, value in capabilities.items() if key in kept and isinstance(value, dict)}
    return keep_flags(
        {**carried, **(carried_extensions(capabilities) if modern else _carried_tasks(capabilities))}
    )


def shows_instructions(capabilities: Any, parts: Collection[str]) -> bool:
    """Whether what a server says of its use holds for the token: it speaks of all that there is, in one text."""
    declared = capabilities if isinstance(capabilities, dict) else {}
    return EVERY_TOOL in parts and all(part in parts for part in Part if part in declared)


def keep_approved_instructions(result: dict[str, Any], server: Server, sync_requests: SyncRequests) -> None:
    """Leave out what a server says of its use when it is not what was approved: a model would follow it."""
    text = result.get("instructions")
    if text is None or (isinstance(text, str) and text_digest(text) == server.instructions):
        return
    del result["instructions"]
    sync_requests.request_sync(server.id)


def _carried_tasks(capabilities: dict[str, Any]) -> dict[str, Any]:
    """Of what a legacy server can do with tasks: calls of tools as tasks, and cancelling these."""
    tasks = capabilities.get("tasks")
    requests = tasks.get("requests") if isinstance(tasks, dict) else None
    tools = requests.get("tools") if isinstance(requests, dict) else None
    if not isinstance(tasks, dict) or not isinstance(tools, dict) or not isinstance(tools.get("call"), dict):
        return {}
    cancel = {"cancel": tasks["cancel"]} if isinstance(tasks.get("cancel"), dict) else {}
    return {"tasks": {**cancel, "requests": {"tools": {"call": tools["call"]}}}}


def filter_tools(
    result: dict[str, Any], server: Server, names: frozenset[str], sync_requests: SyncRequests
) -> None:
    """Keep, in the server's order, the visible tools whose live definition is the approved one.

    Anything that the catalogue does not know, or knows otherwise, asks for a sync.
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
        sync_requests.request_sync(server.id)


def _definition(item: dict[str, Any]) -> dict[str, Any]:
    """What was approved of a definition, and whether calls may be tasks, which the eras say differently."""
    definition = {name: item[name] for name in PINNED_MEMBERS if item.get(name) is not None}
    execution = item.get("execution")
    support = execution.get("taskSupport") if isinstance(execution, dict) else None
    return {**definition, "execution": {"taskSupport": support}} if support in _TASK_SUPPORT else definition


def is_approved(item: Mapping[str, object], tool: Tool) -> bool:
    """Whether a live definition is the one that was approved."""
    try:
        return definition_digest(item) == tool.approved_digest
    except ValueError:
        return False


def handshake_versions(offered: tuple[str, ...]) -> tuple[str, ...]:
    """Of the offered versions those that begin with ``initialize``, newest first."""
    return tuple(version for version in reversed(HANDSHAKE_PROTOCOL_VERSIONS) if version in offered)


RELATED = "io.modelcontextprotocol/related-task"
"""In ``_meta``, up to 2025-11-25: which task a message belongs to."""
MAX_TASK_ID = 256
"""Characters of a server's own id of a task."""
MAX_SHOWN = 4096
MAX_KEPT = 4_000
_PURPOSE = b"task"


@dataclass(frozen=True, slots=True)
class Task:
    """A task by the server's own id, and the tool that was called."""

    id: str
    tool: str


@dataclass(frozen=True, slots=True)
class TaskScope:
    """Where tasks are met: a token, a server, and the session where there is one."""

    token_id: UUID
    server_id: UUID
    session: bytes | None


class Tasks:
    """Seals and opens ids of tasks, and remembers which tool each task is of that this worker met lately.

    The memory is for what a server tells of a task unasked: that names the task, and not the tool. It may forget,
    as clients may not count on being told.
    """

    def __init__(self, sealer: SessionSealer) -> None:
        self._sealer = sealer
        self._tools: OrderedDict[tuple[TaskScope, str], str] = OrderedDict()

    def show(self, scope: TaskScope, id: object, tool: str) -> str:
        """The id under which the client sees a task. Raises ``Refused`` for an id that is none."""
        if not isinstance(id, str) or not 0 < len(id) <= MAX_TASK_ID:
            raise _invalid_task_id()
        try:
            text = strict_json.dumps([id, tool])
        except ValueError:
            raise _invalid_task_id() from None
        self.remember(scope, Task(id, tool))
        return self._sealer.seal_name(scope.token_id, scope.server_id, text, _PURPOSE).decode()

    def open(self, token_id: UUID, server_id: UUID, shown: object) -> Task | None:
        """The task behind a client's id; ``None`` for one that is not of this token and server."""
        if not isinstance(shown, str) or not shown.isascii():
            return None
        opened = self._sealer.open_name(token_id, server_id, shown.encode(), _PURPOSE, MAX_SHOWN)
        if opened is None:
            return None
        parts: Any = strict_json.loads(opened)
        return Task(*parts)

    def open_related(self, token_id: UUID, server_id: UUID, meta: dict[str, Any]) -> None:
        """Name the task that a client's message belongs to as the server does; not at all when it is not theirs."""
        related = meta[RELATED]
        shown = related.get("taskId") if isinstance(related, dict) else None
        task = self.open(token_id, server_id, shown)
        if task is None:
            del meta[RELATED]
        else:
            related["taskId"] = task.id

    def find_tool(self, scope: TaskScope, id: object) -> str | None:
        """The tool of a task that this worker met here."""
        return self._tools.get((scope, id)) if isinstance(id, str) else None

    def remember(self, scope: TaskScope, task: Task) -> None:
        """Remember a task."""
        self._tools[(scope, task.id)] = task.tool
        self._tools.move_to_end((scope, task.id))
        if len(self._tools) > MAX_KEPT:
            self._tools.popitem(last=False)


@dataclass(frozen=True, slots=True)
class ScopedTasks:
    """The tasks of one place. ``tool`` is that of the call, or of the task, which is being answered."""

    tasks: Tasks
    scope: TaskScope
    tool: str | None = None

    def find_tool(self, id: object) -> str | None:
        """Which tool a task is of that the server names."""
        return self.tool or self.tasks.find_tool(self.scope, id)

    def show(self, id: object) -> str:
        """The client's id for the server's. Raises ``Refused``."""
        tool = self.find_tool(id)
        if tool is None:
            raise bad_upstream("The server behind the gateway answered with a task where none can be.")
        return self.tasks.show(self.scope, id, tool)

    def show_related(self, meta: Any) -> bool:
        """Name the task that a server's message belongs to as the client does; not at all where it is not known."""
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
        """Name tasks in a result as the client does; whether there was one. Raises ``Refused``."""
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
        """Of the tasks that a client wants to hear of those that are its own, by the server's ids."""
        found: list[str] = []
        for shown in wanted if isinstance(wanted, list) else ():
            task = self.tasks.open(self.scope.token_id, self.scope.server_id, shown)
            if task is not None:
                self.tasks.remember(self.scope, task)
                found.append(task.id)
        return found

    def show_all(self, acknowledged: Any) -> list[str]:
        """Of the tasks that a server will tell of those that the client knows, by the client's ids."""
        listed = acknowledged if isinstance(acknowledged, list) else []
        return [self.show(id) for id in listed if self.find_tool(id) is not None]


def _task_holder(message: Message, result: dict[str, Any]) -> dict[str, Any] | None:
    """What holds the id of a task in a result."""
    is_task = message.modern and result.get("resultType") == "task"
    if message.method == "tools/call":
        found = result if is_task else result.get("task")
    else:
        found = result if is_task or message.method.startswith("tasks/") else None
    return found if isinstance(found, dict) and (is_task or "taskId" in found) else None


def may_hold_task(message: Message, result: dict[str, Any]) -> bool:
    """Whether there may be the id of a task in a result: seldom."""
    meta = result.get("_meta")
    return (
        message.method != "tools/call"
        or "task" in result
        or result.get("resultType") == "task"
        or (isinstance(meta, dict) and RELATED in meta)
    )


def _invalid_task_id() -> Refused:
    return bad_upstream("The server behind the gateway gave a task an id that is none.")


def unknown_task(modern: bool) -> Refused:
    """The very answer for a task that does not exist, is somebody else's, or is of a tool out of reach."""
    return invalid_params("Task not found", modern)


def missing_tasks() -> Refused:
    """The answer to a modern client that asks for a task and does not say that it can have any."""
    data: dict[str, Any] = {"requiredCapabilities": {"extensions": {TASKS_EXTENSION: {}}}}
    return Refused(400, MISSING_CAPABILITY, "Missing required client capability", data=data)


MAX_STATE = 1024 * 1024
_LISTS = {
    "prompts/list": "prompts",
    "resources/list": "resources",
    "resources/templates/list": "resourceTemplates",
}
_OF_TASKS = frozenset({"tools/call", "tasks/get", "tasks/result", "tasks/cancel"})


def make_rewrite(
    message: Message,
    call: InFlightCall,
    sealer: SessionSealer,
    sync_requests: SyncRequests,
    tasks: Callable[[InFlightCall], ScopedTasks],
    questions: InputRequestRules,
    asks: Callable[[], ClientFeatures],
) -> Rewrite:
    """What to do with the result of a request. ``asks``: what its client can be asked for."""
    method = message.method
    if method == "tools/list":
        return _complete_rewrite(
            message, lambda result: filter_tools(result, call.server, call.names, sync_requests)
        )
    if method in {"initialize", "server/discover"}:
        return _complete_rewrite(message, lambda result: _introduce(result, message, call, sync_requests))
    if method in _LISTS:
        return _complete_rewrite(message, lambda result: _keep_items(result, _LISTS[method]))
    if not message.modern and method not in _OF_TASKS:
        return refuse_input_requests

    def rewrite(result: dict[str, Any]) -> bool:
        if not message.modern:
            refuse_input_requests(result)
        elif result.get("resultType") == "input_required":
            return pass_input_requests(result, message, call, sealer, questions, asks())
        dropped = "inputRequests" in result and questions.check(result["inputRequests"], asks())
        if method == "resources/read":
            make_private(result)
            return True
        if not may_hold_task(message, result):
            return dropped
        return tasks(call).show_in_result(message, result) or dropped

    return rewrite


def refuse_input_requests(result: dict[str, Any]) -> bool:
    """Pass a result as it is in which nothing is asked: in no era before 2026-07-28. Raises ``Refused``."""
    if "inputRequests" in result or result.get("resultType") == "input_required":
        raise bad_upstream("The server behind the gateway asked for input where it may not.")
    return False


def _complete_rewrite(message: Message, change: Callable[[dict[str, Any]], None]) -> Rewrite:
    def rewrite(result: dict[str, Any]) -> bool:
        if result.get("resultType", "complete") != "complete":
            raise bad_upstream("The server behind the gateway asked for input where it may not.")
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


def _introduce(
    result: dict[str, Any], message: Message, call: InFlightCall, sync_requests: SyncRequests
) -> None:
    parts = call.names
    filter_introduction(result)
    keep_approved_instructions(result, call.server, sync_requests)
    if not shows_instructions(result.get("capabilities"), parts):
        result.pop("instructions", None)
    result["capabilities"] = carried_capabilities(result.get("capabilities"), parts, modern=message.modern)
    offered = call.target.protocol_versions or NEWEST_FIRST
    if message.modern:
        result["supportedVersions"] = list(offered)
    elif result.get("protocolVersion") not in offered:
        raise bad_upstream("The server behind the gateway speaks another protocol version than it did.")


def pass_input_requests(
    result: dict[str, Any],
    message: Message,
    call: InFlightCall,
    sealer: SessionSealer,
    questions: InputRequestRules,
    asks: ClientFeatures,
) -> bool:
    """Let through what the client may be asked. Raises ``Refused`` for anything else."""
    if message.method not in INPUT_METHODS or not message.modern:
        raise bad_upstream("The server behind the gateway asked for input where it may not.")
    dropped = questions.check(result.get("inputRequests", {}), asks)
    state = result.get("requestState")
    if state is not None and not isinstance(state, str):
        raise bad_upstream("The server behind the gateway sent a state that is not a string.")
    if call.approved:
        # The next round goes on with what this one took: it proves that it is the next round.
        content = dump([state, call.id.hex])
    elif state is None:
        return dropped
    else:
        content = dump(state)
    sealed = sealer.seal(call.view.token.id, call.server.id, content, state_purpose(message))
    result["requestState"] = sealed.decode()
    return True


class Round(NamedTuple):
    """What the state of a request says of the rounds before: the server's own, and the approved call that goes on.

    ``foreign``: it is not of this place.
    """

    state: str | None = None
    continues: UUID | None = None
    foreign: bool = False

    def check(self) -> None:
        """Raise ``Refused`` for a state that is not of this place; only who may use the place is told so."""
        if self.foreign:
            raise invalid_params("Invalid or expired requestState", modern=True)


FIRST_ROUND = Round()


def open_state(message: Message, view: View, slug: str, sealer: SessionSealer) -> Round:
    """Put the server's own state back into a modern request, in place of the one that its client was given."""
    if not message.modern or "requestState" not in message.params:
        return FIRST_ROUND
    state, server = message.params.pop("requestState"), view.servers.get(slug)
    if state is None or server is None:
        # Not in reach as far as this worker knows. Should it be by the time of the decision, this is no state of its.
        return FIRST_ROUND
    opened = None
    if isinstance(state, str) and state.isascii():
        opened = sealer.open(view.token.id, server.id, state.encode(), state_purpose(message), MAX_STATE)
    if opened is None:
        return Round(foreign=True)
    content: Any = strict_json.loads(opened)
    found = Round(content[0], UUID(hex=content[1])) if isinstance(content, list) else Round(content)
    if found.state is not None:
        message.params["requestState"] = found.state
    return found


def state_purpose(message: Message) -> bytes:
    """What a sealed state is for."""
    name = message.params.get("uri" if message.method == "resources/read" else "name")
    return f"state:{message.method}:{name}".encode()
