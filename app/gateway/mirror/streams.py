"""The filter for a mirror's event streams: notifications, server requests, and event ids.

A notification about a part of the server is decided on the current view of the token, because a stream may be older
than the grants.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from app.admission.store import Client, Store, TooManyLookups, View
from app.domain.access import AccessRequest, decide
from app.domain.objects import Address, Part, Server
from app.gateway.results import ScopedTasks, Tasks, TaskScope
from app.gateway.sealed_ids import MAX_KEPT, MAX_REQUEST_ID, ServerRequests, SessionSealer
from app.gateway.wire.answers import InputRequestRules
from app.gateway.wire.messages import (
    SERVER_NOTIFICATIONS,
    SERVER_REQUESTS,
    TASK_NOTIFICATIONS,
    ClientFeatures,
)
from app.gateway.wire.refusals import bad_upstream
from app.lib import strict_json

MAX_EVENT_ID = 4096
"""Characters of a sealed event id."""
_EVENT_PURPOSE = b"event:"


@dataclass(frozen=True, slots=True)
class Origin:
    """The request that a stream answers, as stored in event ids, so that another stream can continue it."""

    method: str
    tool: str | None
    id: str | int | None
    call_id: UUID
    part: Part | None = None


@dataclass(frozen=True, slots=True)
class StreamContext:
    """The client and server of a stream, and the services to decide and seal with."""

    store: Store
    sealer: SessionSealer
    requests: ServerRequests
    tasks: Tasks
    input_rules: InputRequestRules
    features: ClientFeatures
    view: View
    server: Server
    session: bytes | None
    address: Address | None
    client: Client
    modern: bool


@dataclass(slots=True)
class MirrorStreamFilter:
    """The filter of one stream. ``origin`` None: the stream belongs to no request."""

    context: StreamContext
    origin: Origin | None
    _asked: deque[str] = field(default_factory=lambda: deque(maxlen=MAX_KEPT))
    """The client's ids of forwarded server requests, without the oldest."""

    async def filter_notification(self, message: dict[str, Any]) -> bool | None:
        """Whether to forward the notification; ``None`` to forward it with changes made in place."""
        method, context = message["method"], self.context
        if method not in SERVER_NOTIFICATIONS:
            return False
        if method == "notifications/tools/list_changed":
            context.store.request_sync(context.server.id)
        if method == "notifications/cancelled" and not context.modern:
            return self._filter_cancellation(message)
        if method in TASK_NOTIFICATIONS:
            return await self._filter_task_notification(message)
        part = SERVER_NOTIFICATIONS[method]
        if part is not None and not await self._reaches(part):
            return False
        return None if self._show_tasks(message) else True

    def filter_request(self, message: dict[str, Any]) -> bool:
        """Whether to forward the request. If so, its id is replaced by the one that the client sees."""
        context, id = self.context, message["id"]
        if context.modern or message["method"] not in SERVER_REQUESTS:
            return False
        if isinstance(id, bool) or not isinstance(id, (str, int)) or len(str(id)) > MAX_REQUEST_ID:
            raise bad_upstream("The server behind the gateway sent a request with an invalid id.")
        params = message.get("params")
        if not context.input_rules.allow(message["method"], params, context.features):
            return False
        if isinstance(params, dict):
            if "task" in params:
                # The server requests a task of the client, which is not supported.
                return False
            self._tasks().show_related(params.get("_meta"))
        shown = context.requests.register(context.view.token.id, context.server.id, context.session, id)
        message["id"] = shown
        self._asked.append(shown)
        return True

    def seal_event_id(self, id: str) -> bytes | None:
        """Return the event id with which the client may resume the stream; ``None`` when it cannot."""
        context = self.context
        if context.session is None:
            return None
        origin = self.origin
        parts: list[strict_json.JsonValue] = [id]
        if origin is not None:
            parts += [origin.method, origin.tool, origin.id, origin.call_id.hex, origin.part]
        sealed = context.sealer.seal(
            context.view.token.id,
            context.server.id,
            strict_json.dumps(parts),
            _EVENT_PURPOSE + context.session,
        )
        if len(sealed) > MAX_EVENT_ID:
            raise bad_upstream("The server behind the gateway sent an event id that is too long.")
        return sealed

    def close(self) -> None:
        """Stop waiting for responses to the requests of an ended call."""
        for shown in self._asked:
            self.context.requests.close(shown)

    def _filter_cancellation(self, message: dict[str, Any]) -> bool | None:
        """Replace the id in the server's cancellation of a request by the client's."""
        context, params = self.context, message.get("params")
        id = params.get("requestId") if isinstance(params, dict) else None
        if isinstance(id, bool) or not isinstance(id, (str, int)):
            return False
        shown = context.requests.show_id(context.view.token.id, context.server.id, context.session, id)
        context.requests.close(shown)
        message["params"]["requestId"] = shown
        return None

    def _tasks(self) -> ScopedTasks:
        context, origin = self.context, self.origin
        scope = TaskScope(context.view.token.id, context.server.id, context.session)
        return ScopedTasks(context.tasks, scope, None if origin is None else origin.tool)

    def _show_tasks(self, message: dict[str, Any]) -> bool:
        """Replace task ids in a notification by the client's; returns whether there were any."""
        params = message.get("params")
        if not isinstance(params, dict):
            return False
        changed = self._tasks().show_related(params.get("_meta"))
        heard = params.get("notifications")
        if isinstance(heard, dict) and "taskIds" in heard:
            heard["taskIds"] = self._tasks().show_all(heard["taskIds"])
            return True
        return changed

    async def _filter_task_notification(self, message: dict[str, Any]) -> bool | None:
        """Forward the status of a task while the token reaches its tool."""
        params, tasks = message.get("params"), self._tasks()
        if not isinstance(params, dict) or TASK_NOTIFICATIONS[message["method"]] is not self.context.modern:
            return False
        tool = tasks.find_tool(params.get("taskId"))
        if tool is None or not await self._reaches(None, tool):
            return False
        self.context.input_rules.check(params.get("inputRequests", {}), self.context.features)
        tasks.show_related(params.get("_meta"))
        params["taskId"] = tasks.show(params.get("taskId"))
        return None

    async def _reaches(self, part: Part | None, tool: str | None = None) -> bool:
        context = self.context
        try:
            view = await context.store.resolve(context.view.credential)
        except TooManyLookups:
            return False
        if view is None:
            return False
        server = view.servers.get(context.server.slug)
        request = AccessRequest(view.token, server, tool, address=context.address, part=part)
        return decide(request, view.context, context.store.now()).allowed


def open_event_id(
    sealer: SessionSealer, token_id: UUID, server_id: UUID, session: bytes, shown: bytes
) -> tuple[str, Origin | None] | None:
    """Open a sealed event id: the upstream's own id, and the stream's origin. ``None`` for another session."""
    opened = sealer.open(token_id, server_id, shown, _EVENT_PURPOSE + session, MAX_EVENT_ID)
    if opened is None:
        return None
    parts: Any = strict_json.loads(opened)
    if len(parts) == 1:
        return parts[0], None
    id, method, tool, request_id, call_id, part = parts
    origin = Origin(method, tool, request_id, UUID(hex=call_id), None if part is None else Part(part))
    return id, origin
