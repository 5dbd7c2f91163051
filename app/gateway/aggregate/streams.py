"""Listening streams on ``/mcp``: the legacy GET and ``subscriptions/listen``.

They report lists that may have changed for the token, because its access or the fleet changed, and changes to
subscribed resources. Only servers with subscribed resources get an upstream stream, because a stream per server and
client would be too many.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from time import monotonic
from typing import Any
from uuid import UUID, uuid4

from app.admission.store import Store, StoreUnavailable, View
from app.domain.access import POLICY_SET_ID, AccessRequest, Decision, decide
from app.domain.objects import Address, Part, Version
from app.domain.policy import ApprovalDemand, Effect
from app.gateway.access_check import NO_APPROVALS, AccessCheck, decide_liveness
from app.gateway.aggregate.calls import Caller, translate_upstream_error
from app.gateway.aggregate.routes import join_uri, split_uri
from app.gateway.aggregate.sessions import MAX_URI, MAX_URIS, Key, UpstreamSessions
from app.gateway.pipeline import Cut, Denied, GatewayRequest, InFlightCall, Pipeline
from app.gateway.wire.answers import Answer, dump, parse, target_secrets
from app.gateway.wire.exchange import ClientWatch, result_body
from app.gateway.wire.messages import allowed_notifications
from app.gateway.wire.refusals import Refused, invalid_params
from app.lib.event_loop import in_slices
from app.lib.sse import encode_event
from app.lib.strict_json import JsonObject
from app.outbound.http import Timeouts
from app.outbound.mcp.connection import LegacySession
from app.outbound.mcp.exchange import McpUpstreamError

Kind = str
"""The kind of a list: ``tools``, ``prompts`` or ``resources``."""
TOOLS: Kind = "tools"
PROMPTS: Kind = Part.PROMPTS.value
RESOURCES: Kind = Part.RESOURCES.value


@dataclass(frozen=True, slots=True)
class ListState:
    """The versions that a token's lists depend on. Equal states mean equal lists, as far as the gateway knows."""

    tools: frozenset[Version]
    prompts: frozenset[UUID]
    resources: frozenset[UUID]

    def reaches(self, part: Part, server_id: UUID) -> bool:
        """Whether a part of a server is in reach."""
        return server_id in (self.prompts if part is Part.PROMPTS else self.resources)

    def changed_lists(self, other: "ListState") -> set[Kind]:
        """Return the lists that may differ between two states."""
        return {
            kind
            for kind, mine, theirs in (
                (TOOLS, self.tools, other.tools),
                (PROMPTS, self.prompts, other.prompts),
                (RESOURCES, self.resources, other.resources),
            )
            if mine != theirs
        }


async def read_list_state(view: View, at: float, address: Address | None) -> ListState:
    """Return the current state of a token's lists. Runs in slices, because there may be thousands of servers."""
    return await in_slices(_list_state(view, at, address))


def _list_state(view: View, at: float, address: Address | None) -> Generator[None, None, ListState]:
    # Which tools of a server in reach are visible also depends on the rights of the token and on the policies.
    chain = list(view.token.chain())
    tools = {(link.id, link.version) for link in chain} | {(POLICY_SET_ID, view.context.policy_version)}
    tools |= {(grant.id, grant.version) for link in chain for grant in link.identity.grants}
    parts = {part: set[UUID]() for part in Part}
    for server in view.within():
        yield
        request = AccessRequest(view.token, server, address=address)
        if decide(request, view.context, at).effect is Effect.DENY:
            continue
        tools.add((server.id, server.version))
        for part, reached in parts.items():
            request = AccessRequest(view.token, server, address=address, part=part)
            if decide(request, view.context, at).effect is not Effect.DENY:
                reached.add(server.id)
    return ListState(frozenset(tools), frozenset(parts[Part.PROMPTS]), frozenset(parts[Part.RESOURCES]))


@dataclass(slots=True)
class FleetAccessCheck(AccessCheck):
    """Whether the token is live. Reevaluated, calling ``on_change``, when anything changes that its lists depend on."""

    on_change: Callable[[View, float], None] | None = None

    def _evaluate(self, view: View, at: float) -> Decision:
        return decide_liveness(view, at, self.address, tuple(view.within()))

    def reevaluate(
        self, view: View, at: float, approvals: frozenset[ApprovalDemand] = NO_APPROVALS
    ) -> Decision:
        """Decide the request on a newer view, and call ``on_change``."""
        # ``super()`` does not work in a dataclass with slots.
        decision = AccessCheck.reevaluate(self, view, at, approvals)
        if decision.allowed and self.on_change is not None:
            self.on_change(view, at)
        return decision


SUBSCRIPTION_ID_KEY = "io.modelcontextprotocol/subscriptionId"


class PendingNotifications:
    """The unsent notifications of one stream, without duplicates and bounded by ``MAX_URIS``."""

    def __init__(self, kinds: Iterable[Kind], subscription_id: str | int | None) -> None:
        """``kinds``: the lists to report. ``subscription_id``: of a modern stream."""
        self.kinds = frozenset(kinds)
        self._meta = None if subscription_id is None else {SUBSCRIPTION_ID_KEY: subscription_id}
        self._changed: dict[Kind, None] = {}
        self._updated: dict[str, None] = {}
        self._available = asyncio.Event()

    def changed(self, kinds: Iterable[Kind]) -> None:
        """Add notifications of lists that may have changed."""
        for kind in kinds:
            if kind in self.kinds:
                self._changed[kind] = None
                self._available.set()

    def updated(self, uri: str) -> None:
        """Add a notification of a changed resource."""
        if len(self._updated) < MAX_URIS:
            self._updated[uri] = None
            self._available.set()

    async def next(self) -> list[dict[str, Any]]:
        """Wait for notifications and return them."""
        await self._available.wait()
        notifications = [self.message(f"{kind}/list_changed") for kind in self._changed]
        notifications += [self.message("resources/updated", uri=uri) for uri in self._updated]
        self._changed.clear()
        self._updated.clear()
        self._available.clear()
        return notifications

    def end(self, id: str | int | None) -> bytes:
        """Return the last event of the stream: in the modern era, the answer to its request."""
        if id is None:
            return b""
        return encode_event(result_body(id, {"resultType": "complete", "_meta": self._meta}))

    def message(self, what: str, **params: Any) -> dict[str, Any]:
        """Make a notification of this stream."""
        if self._meta is not None:
            params["_meta"] = self._meta
        message: dict[str, Any] = {"jsonrpc": "2.0", "method": f"notifications/{what}"}
        return {**message, "params": params} if params else message


MAX_UPSTREAM_STREAMS = 16
"""Maximum upstream streams, each of one server, per client stream."""
FIRST_WAIT, MAX_WAIT = 1.0, 60.0
"""Seconds before a new attempt after a server's stream ended or failed to open."""
_LISTS = {
    "notifications/prompts/list_changed": Part.PROMPTS,
    "notifications/resources/list_changed": Part.RESOURCES,
}


@dataclass(slots=True)
class UpstreamStreams:
    """The upstream streams behind one client stream. Each is an admitted call, and is cut like any other call."""

    pipeline: Pipeline
    upstreams: UpstreamSessions
    store: Store
    caller: Caller
    pending: PendingNotifications
    view: View
    state: ListState
    times: Timeouts
    id: UUID = field(default_factory=uuid4)
    """The key for upstream sessions, which these streams do not share with the client's session."""
    _running: dict[str, tuple[frozenset[str], asyncio.Task[None]]] = field(default_factory=dict)
    _ending: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    def reconcile(self, uris: Iterable[str]) -> None:
        """Open and close upstream streams to match these resources, as far as their servers are in reach."""
        wanted = self._reached(uris)
        for slug, (own, task) in list(self._running.items()):
            if task.done() or wanted.get(slug) != own:
                task.cancel()
                self._ending[slug] = task
                del self._running[slug]
        for slug, own in wanted.items():
            if slug not in self._running and len(self._running) < MAX_UPSTREAM_STREAMS:
                before = self._ending.pop(slug, None)
                task = asyncio.get_running_loop().create_task(self._keep_listening(slug, own, before))
                self._running[slug] = own, task

    def _reached(self, uris: Iterable[str]) -> Mapping[str, frozenset[str]]:
        by_slug: dict[str, set[str]] = defaultdict(set)
        for uri in sorted(uris):
            slug, own = split_uri(uri) or ("", "")
            server = self.view.servers.get(slug)
            if server is not None and self.state.reaches(Part.RESOURCES, server.id):
                by_slug[slug].add(own)
        return {slug: frozenset(own) for slug, own in by_slug.items()}

    async def close(self) -> None:
        """Close all streams."""
        tasks = [*(task for _, task in self._running.values()), *self._ending.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.upstreams.end(self.id)

    async def _keep_listening(
        self, slug: str, uris: frozenset[str], before: asyncio.Task[None] | None
    ) -> None:
        """Listen to one server, and reconnect with exponential backoff."""
        if before is not None:
            # Many servers accept only one stream per session.
            await asyncio.gather(before, return_exceptions=True)
        wait, started = FIRST_WAIT, monotonic()
        while await self._listen_once(slug, uris):
            duration = monotonic() - started
            await asyncio.sleep(wait)
            wait, started = FIRST_WAIT if duration > MAX_WAIT else min(2 * wait, MAX_WAIT), monotonic()

    async def _listen_once(self, slug: str, uris: frozenset[str]) -> bool:
        """Listen until the stream ends; returns whether to try again (not if the server is out of reach)."""
        exchange, message = self.caller.exchange, self.caller.message
        access = AccessCheck(
            "mcp.listen", slug, exchange.address, part=Part.RESOURCES, session_id=self.caller.session_id
        )
        request = GatewayRequest(exchange, self.view, access, message.method)
        try:
            async for call in self.pipeline.admitted(request):
                async with call, aclosing(self._notifications(call, uris)) as notifications:
                    async for notification in notifications:
                        self._handle(notification, call, uris)
                    call.outcome = "success"
        except (Denied, Cut):
            return False
        except Refused as refused:
            return refused.status not in {401, 404}
        except StoreUnavailable:
            # Nothing was decided. Try again when the database is back.
            return True
        return True

    async def _notifications(
        self, call: InFlightCall, uris: frozenset[str]
    ) -> AsyncGenerator[JsonObject, None]:
        modern = self.caller.message.modern
        key: Key = (self.id, call.server.id)
        try:
            async with self.upstreams.use(
                key,
                call.target,
                modern=modern,
                before_send=call.may_start,
                before_next=call.may_continue,
                caller=call.view.token.identity.id.int,
            ) as connection:
                guard = call.may_start
                if isinstance(connection, LegacySession):
                    await _subscribe_all(connection, uris, guard)
                    guard = call.may_continue
                wanted: JsonObject = {
                    "resourceSubscriptions": [*sorted(uris)],
                    "resourcesListChanged": True,
                    "promptsListChanged": self.state.reaches(Part.PROMPTS, call.server.id),
                }
                async with aclosing(
                    connection.listen(wanted, self.times, before_send=guard)
                ) as notifications:
                    async for message in notifications:
                        yield message
        except McpUpstreamError as error:
            raise translate_upstream_error(error) from None

    def _handle(self, message: JsonObject, call: InFlightCall, uris: frozenset[str]) -> None:
        method, params, server = message["method"], message.get("params"), call.server
        part = _LISTS.get(method) if isinstance(method, str) else None
        if method == "notifications/tools/list_changed":
            self.store.request_sync(server.id)
        elif part is not None and self.state.reaches(part, server.id):
            self.pending.changed((part.value,))
        elif method == "notifications/resources/updated" and isinstance(params, dict):
            uri = params.get("uri")
            # A subscription includes resources below its URI.
            if isinstance(uri, str) and any(uri.startswith(own) for own in uris):
                raw = Answer(None, target_secrets(call.target)).redact(dump(uri), uri)
                self.pending.updated(join_uri(server.slug, parse(raw)))


async def _subscribe_all(session: LegacySession, uris: frozenset[str], may_start: Callable[[], bool]) -> None:
    """Subscribe to each resource. An error answer for one of them is ignored."""
    for uri in sorted(uris):
        try:
            await session.request("resources/subscribe", {"uri": uri}, before_send=may_start)
        except McpUpstreamError as error:
            if error.kind != "rpc":
                raise


Uris = Callable[[], Awaitable[Iterable[str]]]
"""Returns the client's subscriptions, as URIs on ``/mcp``."""
GAP_SECONDS = 1.0
"""Minimum time between notifications to a client. Duplicates within it are merged."""
_FLAGS = {TOOLS: "toolsListChanged", PROMPTS: "promptsListChanged", RESOURCES: "resourcesListChanged"}
_SUBSCRIPTIONS = "resourceSubscriptions"


def requested_notifications(caller: Caller) -> dict[str, Any]:
    """Return the notifications that a modern client requests. Raises ``Refused`` if they are malformed."""
    wanted = caller.message.params.get("notifications")
    uris = wanted.get(_SUBSCRIPTIONS, []) if isinstance(wanted, dict) else None
    if not isinstance(wanted, dict) or not isinstance(uris, list) or len(uris) > MAX_URIS:
        raise invalid_params(
            f"notifications must be an object, with at most {MAX_URIS} resourceSubscriptions.", modern=True
        )
    if not all(isinstance(uri, str) and len(uri) <= MAX_URI for uri in uris):
        raise invalid_params(
            f"resourceSubscriptions must be strings of at most {MAX_URI} characters.", modern=True
        )
    return wanted


@dataclass(slots=True, eq=False, repr=False)
class FleetStream:
    """One client stream on ``/mcp``."""

    pipeline: Pipeline
    upstreams: UpstreamSessions
    times: Timeouts
    caller: Caller
    uris_changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set this event to reconcile the upstream streams."""
    _latest: tuple[View, float] | None = None

    def access(self) -> FleetAccessCheck:
        """Return the access check of the stream."""
        return FleetAccessCheck(
            "mcp.listen",
            None,
            self.caller.exchange.address,
            session_id=self.caller.session_id,
            on_change=self._on_change,
        )

    def _on_change(self, view: View, at: float) -> None:
        self._latest = view, at
        self.uris_changed.set()

    async def listen(self, call: InFlightCall, wanted: dict[str, Any]) -> str:
        """Run a modern stream. It acknowledges the allowed notifications first."""
        state = await self._list_state(call.view)
        reached = {kind for kind, there in ((PROMPTS, state.prompts), (RESOURCES, state.resources)) if there}
        heard = allowed_notifications(wanted, frozenset(reached))
        kept = {key: True for key in _FLAGS.values() if heard.get(key) is True}
        subscribed = [uri for uri in heard.get(_SUBSCRIPTIONS, []) if split_uri(uri) is not None]
        pending = PendingNotifications(
            [kind for kind, flag in _FLAGS.items() if flag in kept], self.caller.message.id
        )
        acknowledged = {**kept, _SUBSCRIPTIONS: subscribed} if subscribed else kept
        first = pending.message("subscriptions/acknowledged", notifications=acknowledged)

        async def uris() -> Iterable[str]:
            return subscribed

        return await self._run(call, pending, uris, encode_event(dump(first)))

    async def listen_legacy(self, call: InFlightCall, uris: Uris) -> str:
        """Run a legacy stream: all lists in reach, and the session's subscriptions."""
        return await self._run(call, PendingNotifications(_FLAGS, None), uris, b"")

    async def _run(self, call: InFlightCall, pending: PendingNotifications, uris: Uris, first: bytes) -> str:
        streams = UpstreamStreams(
            self.pipeline,
            self.upstreams,
            self.pipeline.store,
            self.caller,
            pending,
            call.view,
            await self._list_state(call.view),
            self.times,
        )
        with ClientWatch(self.caller.exchange, call, modern=True) as watch:
            watch.streaming = True
            await self.caller.exchange.stream(first)
            reconciling = asyncio.create_task(self._reconcile(streams, uris))
            try:
                async with asyncio.timeout(self.times.total):
                    while True:
                        for message in await pending.next():
                            await self.caller.exchange.stream(encode_event(dump(message)))
                        await asyncio.sleep(GAP_SECONDS)
            except TimeoutError:
                await self.caller.exchange.stream(pending.end(self.caller.message.id), last=True)
                return "success"
            finally:
                reconciling.cancel()
                await asyncio.gather(reconciling, return_exceptions=True)
                await streams.close()

    async def _reconcile(self, streams: UpstreamStreams, uris: Uris) -> None:
        """Keep the upstream streams up to date, and report changed lists."""
        while True:
            self.uris_changed.clear()
            if self._latest is not None:
                (view, at), self._latest = self._latest, None
                state = await read_list_state(view, at, self.caller.exchange.address)
                streams.pending.changed(state.changed_lists(streams.state))
                streams.view, streams.state = view, state
            try:
                streams.reconcile(await uris())
            except StoreUnavailable:
                await asyncio.sleep(FIRST_WAIT)
                continue
            await self.uris_changed.wait()

    async def _list_state(self, view: View) -> ListState:
        return await read_list_state(view, self.pipeline.store.now(), self.caller.exchange.address)
