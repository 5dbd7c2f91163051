"""Tasks on a mirror: calls that go on at the server after they were answered.

The id under which a client knows its task is sealed over token and server and holds the tool's name. So every worker
knows, without a store, whose task it is and which right a request about it needs. The same task is shown under the
same id each time, as clients compare ids.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from app.gateway.sessions import SessionSealer
from app.gateway.wire.envelope import Message
from app.gateway.wire.methods import TASKS_EXTENSION
from app.gateway.wire.refusals import MISSING_CAPABILITY, Refused, bad_upstream, invalid_params
from app.lib import strict_json

RELATED = "io.modelcontextprotocol/related-task"
"""In ``_meta``, up to 2025-11-25: which task a message belongs to."""

LONGEST_ID = 256
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
class Place:
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
        self._met: OrderedDict[tuple[Place, str], str] = OrderedDict()

    def show(self, place: Place, id: object, tool: str) -> str:
        """The id under which the client sees a task. Raises ``Refused`` for an id that is none."""
        if not isinstance(id, str) or not 0 < len(id) <= LONGEST_ID:
            raise _no_id()
        try:
            text = strict_json.dumps([id, tool])
        except ValueError:
            raise _no_id() from None
        self.meet(place, Task(id, tool))
        return self._sealer.seal_name(place.token_id, place.server_id, text, _PURPOSE).decode()

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

    def tool_of(self, place: Place, id: object) -> str | None:
        """The tool of a task that this worker met here."""
        return self._met.get((place, id)) if isinstance(id, str) else None

    def meet(self, place: Place, task: Task) -> None:
        """Remember a task."""
        self._met[(place, task.id)] = task.tool
        self._met.move_to_end((place, task.id))
        if len(self._met) > MAX_KEPT:
            self._met.popitem(last=False)


@dataclass(frozen=True, slots=True)
class TasksHere:
    """The tasks of one place. ``tool`` is that of the call, or of the task, which is being answered."""

    tasks: Tasks
    place: Place
    tool: str | None = None

    def tool_of(self, id: object) -> str | None:
        """Which tool a task is of that the server names."""
        return self.tool or self.tasks.tool_of(self.place, id)

    def show(self, id: object) -> str:
        """The client's id for the server's. Raises ``Refused``."""
        tool = self.tool_of(id)
        if tool is None:
            raise bad_upstream("The server behind the gateway answered with a task where none can be.")
        return self.tasks.show(self.place, id, tool)

    def show_related(self, meta: Any) -> bool:
        """Name the task that a server's message belongs to as the client does; not at all where it is not known."""
        if not isinstance(meta, dict) or RELATED not in meta:
            return False
        related = meta[RELATED]
        id = related.get("taskId") if isinstance(related, dict) else None
        if not isinstance(id, str) or self.tool_of(id) is None:
            del meta[RELATED]
        else:
            related["taskId"] = self.show(id)
        return True

    def show_in_result(self, message: Message, result: dict[str, Any]) -> bool:
        """Name tasks in a result as the client does; whether there was one. Raises ``Refused``."""
        changed = self.show_related(result.get("_meta"))
        holder = _task_in(message, result)
        if holder is None:
            return changed
        id = holder.get("taskId")
        if id != message.params.get("taskId", id):
            raise bad_upstream("The server behind the gateway answered for another task.")
        holder["taskId"] = self.show(id)
        return True

    def opened(self, wanted: Any) -> list[str]:
        """Of the tasks that a client wants to hear of those that are its own, by the server's ids."""
        found: list[str] = []
        for shown in wanted if isinstance(wanted, list) else ():
            task = self.tasks.open(self.place.token_id, self.place.server_id, shown)
            if task is not None:
                self.tasks.meet(self.place, task)
                found.append(task.id)
        return found

    def shown(self, acknowledged: Any) -> list[str]:
        """Of the tasks that a server will tell of those that the client knows, by the client's ids."""
        listed = acknowledged if isinstance(acknowledged, list) else []
        return [self.show(id) for id in listed if self.tool_of(id) is not None]


def _task_in(message: Message, result: dict[str, Any]) -> dict[str, Any] | None:
    """What holds the id of a task in a result."""
    is_task = message.modern and result.get("resultType") == "task"
    if message.method == "tools/call":
        found = result if is_task else result.get("task")
    else:
        found = result if is_task or message.method.startswith("tasks/") else None
    return found if isinstance(found, dict) and (is_task or "taskId" in found) else None


def tells_of_task(message: Message, result: dict[str, Any]) -> bool:
    """Whether there may be the id of a task in a result: seldom."""
    meta = result.get("_meta")
    return (
        message.method != "tools/call"
        or "task" in result
        or result.get("resultType") == "task"
        or (isinstance(meta, dict) and RELATED in meta)
    )


def _no_id() -> Refused:
    return bad_upstream("The server behind the gateway gave a task an id that is none.")


def unknown_task(modern: bool) -> Refused:
    """The very answer for a task that does not exist, is somebody else's, or is of a tool out of reach."""
    return invalid_params("Task not found", modern)


def missing_tasks() -> Refused:
    """The answer to a modern client that asks for a task and does not say that it can have any."""
    data: dict[str, Any] = {"requiredCapabilities": {"extensions": {TASKS_EXTENSION: {}}}}
    return Refused(400, MISSING_CAPABILITY, "Missing required client capability", data=data)
