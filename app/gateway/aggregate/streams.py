"""Streams that stay open on ``/mcp``: the legacy GET and ``subscriptions/listen``.

They report lists that may have changed for this token, because its access or the fleet did, and resources that its
client subscribed to. Behind a stream is one stream with each server that such a resource is of, and with no other:
a stream with every server for every client would be a great many that nearly always say nothing.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from time import monotonic
from typing import Any
from uuid import UUID, uuid4

from app.admission.store import StoreUnavailable, SyncRequests, View
from app.domain.access import POLICY_SET_ID, Decision, Question, all_dependencies, decide, liveness
from app.domain.objects import Address, Part, Version
from app.domain.policy import ApprovalDemand, Effect
from app.gateway.access_request import NO_APPROVALS, AccessRequest
from app.gateway.aggregate.calls import Caller, upstream_refused
from app.gateway.aggregate.routes import joined_uri, split_uri
from app.gateway.aggregate.sessions import MAX_URI, MAX_URIS, Key, UpstreamSessions
from app.gateway.pipeline import Cut, Denied, GatewayRequest, InFlightCall, Pipeline
from app.gateway.relay import Watch
from app.gateway.wire.answers import Answer, dump, parse, secrets_of
from app.gateway.wire.exchange import result_body
from app.gateway.wire.messages import listened_for
from app.gateway.wire.refusals import Refused, invalid_params
from app.lib.event_loop import in_slices
from app.lib.sse import encode_event
from app.lib.strict_json import JsonObject
from app.outbound.http import Timeouts
from app.outbound.mcp import LegacySession, McpUpstreamError

Kind = str
"""``tools``, ``prompts`` or ``resources``: what a list is of."""
TOOLS: Kind = "tools"
PROMPTS: Kind = Part.PROMPTS.value
RESOURCES: Kind = Part.RESOURCES.value


@dataclass(frozen=True, slots=True)
class Sight:
    """What lists hold, told by versions: two that are equal show the same lists, as far as we know of them."""

    tools: frozenset[Version]
    prompts: frozenset[UUID]
    resources: frozenset[UUID]

    def reaches(self, part: Part, server_id: UUID) -> bool:
        """Whether a part of a server is seen."""
        return server_id in (self.prompts if part is Part.PROMPTS else self.resources)

    def differs(self, other: "Sight") -> set[Kind]:
        """The lists that may differ from those of another."""
        return {
            kind
            for kind, mine, theirs in (
                (TOOLS, self.tools, other.tools),
                (PROMPTS, self.prompts, other.prompts),
                (RESOURCES, self.resources, other.resources),
            )
            if mine != theirs
        }


async def sight_of(view: View, at: float, address: Address | None) -> Sight:
    """What a token sees now. Others have their turn meanwhile: it may reach thousands of servers."""
    return await in_slices(_seen(view, at, address))


def _seen(view: View, at: float, address: Address | None) -> Generator[None, None, Sight]:
    tools, parts = set(_rights(view)), {part: set[UUID]() for part in Part}
    for server in view.within():
        yield
        question = Question(view.token, server, address=address)
        if decide(question, view.context, at).effect is Effect.DENY:
            continue
        tools.add((server.id, server.version))
        for part, reached in parts.items():
            question = Question(view.token, server, address=address, part=part)
            if decide(question, view.context, at).effect is not Effect.DENY:
                reached.add(server.id)
    return Sight(frozenset(tools), frozenset(parts[Part.PROMPTS]), frozenset(parts[Part.RESOURCES]))


def _rights(view: View) -> list[Version]:
    """What says which tools are seen of a server that is in reach."""
    versions = [(link.id, link.version) for link in view.token.chain()]
    versions.append((POLICY_SET_ID, view.context.policy_version))
    versions += [(grant.id, grant.version) for link in view.token.chain() for grant in link.identity.grants]
    return versions


@dataclass(slots=True)
class FleetAccess(AccessRequest):
    """May the token be here: decided again, and ``look`` called, whenever anything moves that its lists come from."""

    look: Callable[[View, float], None] | None = None

    def _evaluate(self, view: View, at: float) -> Decision:
        stopped = liveness(view.token, at, self.address)
        servers = tuple(view.within())
        versions, valid_from, valid_until = all_dependencies(view.token, servers, view.context, at)
        effect = Effect.ALLOW if stopped is None else Effect.DENY
        return Decision(effect, stopped or "token_active", versions, valid_from, valid_until)

    def reevaluate(
        self, view: View, at: float, approvals: frozenset[ApprovalDemand] = NO_APPROVALS
    ) -> Decision:
        """The same request on a newer view."""
        # Not by ``super()``: that needs the class as it was before it had slots.
        decision = AccessRequest.reevaluate(self, view, at, approvals)
        if decision.allowed and self.look is not None:
            self.look(view, at)
        return decision


SUBSCRIPTION_ID_KEY = "io.modelcontextprotocol/subscriptionId"


class News:
    """Waits to be told; bounded, since lists are of three kinds and resources of so many at most."""

    def __init__(self, kinds: Iterable[Kind], subscription_id: str | int | None) -> None:
        """``kinds``: the lists whose changes are told. ``subscription_id``: of the stream, in the modern era."""
        self.kinds = frozenset(kinds)
        self._meta = None if subscription_id is None else {SUBSCRIPTION_ID_KEY: subscription_id}
        self._changed: dict[Kind, None] = {}
        self._updated: dict[str, None] = {}
        self._there = asyncio.Event()

    def changed(self, kinds: Iterable[Kind]) -> None:
        """A list may have changed."""
        for kind in kinds:
            if kind in self.kinds:
                self._changed[kind] = None
                self._there.set()

    def updated(self, uri: str) -> None:
        """A resource has changed."""
        if len(self._updated) < MAX_URIS:
            self._updated[uri] = None
            self._there.set()

    async def next(self) -> list[dict[str, Any]]:
        """The notifications to send, as soon as there are any."""
        await self._there.wait()
        told = [self.message(f"{kind}/list_changed") for kind in self._changed]
        told += [self.message("resources/updated", uri=uri) for uri in self._updated]
        self._changed.clear()
        self._updated.clear()
        self._there.clear()
        return told

    def end(self, id: str | int | None) -> bytes:
        """The last that the stream brings: in the modern era, an answer to the request that asked for it."""
        if id is None:
            return b""
        return encode_event(result_body(id, {"resultType": "complete", "_meta": self._meta}))

    def message(self, what: str, **params: Any) -> dict[str, Any]:
        """A notification of this stream."""
        if self._meta is not None:
            params["_meta"] = self._meta
        message: dict[str, Any] = {"jsonrpc": "2.0", "method": f"notifications/{what}"}
        return {**message, "params": params} if params else message


MAX_LINKS = 16
"""Servers that one stream hears from."""
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0
"""Seconds until a server is asked again that ended its stream or did not open one."""
_LISTS = {
    "notifications/prompts/list_changed": Part.PROMPTS,
    "notifications/resources/list_changed": Part.RESOURCES,
}


@dataclass(slots=True)
class Links:
    """The streams behind one stream of a client. Each is an admitted call of its own, cut as any other."""

    pipeline: Pipeline
    upstreams: UpstreamSessions
    sync_requests: SyncRequests
    caller: Caller
    news: News
    view: View
    sight: Sight
    times: Timeouts
    id: UUID = field(default_factory=uuid4)
    """In the place of a client's session: these streams have upstream sessions to themselves."""
    _running: dict[str, tuple[frozenset[str], asyncio.Task[None]]] = field(default_factory=dict)
    _ending: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    def arrange(self, uris: Iterable[str]) -> None:
        """Hear of these resources and no others, as far as their servers are in reach."""
        wanted = self._reached(uris)
        for slug, (own, task) in list(self._running.items()):
            if task.done() or wanted.get(slug) != own:
                task.cancel()
                self._ending[slug] = task
                del self._running[slug]
        for slug, own in wanted.items():
            if slug not in self._running and len(self._running) < MAX_LINKS:
                before = self._ending.pop(slug, None)
                task = asyncio.get_running_loop().create_task(self._keep(slug, own, before))
                self._running[slug] = own, task

    def _reached(self, uris: Iterable[str]) -> Mapping[str, frozenset[str]]:
        found: dict[str, set[str]] = defaultdict(set)
        for uri in sorted(uris):
            slug, own = split_uri(uri) or ("", "")
            server = self.view.servers.get(slug)
            if server is not None and self.sight.reaches(Part.RESOURCES, server.id):
                found[slug].add(own)
        return {slug: frozenset(own) for slug, own in found.items()}

    async def close(self) -> None:
        """End them all."""
        tasks = [*(task for _, task in self._running.values()), *self._ending.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.upstreams.end(self.id)

    async def _keep(self, slug: str, uris: frozenset[str], before: asyncio.Task[None] | None) -> None:
        """Hold the stream with one server, and open it again when it ends, ever less often."""
        if before is not None:
            # Many servers take one stream in a session at a time.
            await asyncio.gather(before, return_exceptions=True)
        wait, began = FIRST_WAIT, monotonic()
        while await self._hold(slug, uris):
            held = monotonic() - began
            await asyncio.sleep(wait)
            wait, began = FIRST_WAIT if held > LONGEST_WAIT else min(2 * wait, LONGEST_WAIT), monotonic()

    async def _hold(self, slug: str, uris: frozenset[str]) -> bool:
        """Whether it is worth another try; not where the server is out of reach."""
        exchange, message = self.caller.exchange, self.caller.message
        access = AccessRequest(
            "mcp.listen", slug, exchange.address, part=Part.RESOURCES, session_id=self.caller.session_id
        )
        request = GatewayRequest(exchange, self.view, access, message.method)
        try:
            async for call in self.pipeline.admitted(request):
                async with call, aclosing(self._told(call, uris)) as told:
                    async for notification in told:
                        self._take(notification, call, uris)
                    call.outcome = "success"
        except (Denied, Cut):
            return False
        except Refused as refused:
            return refused.status not in {401, 404}
        except StoreUnavailable:
            # Nothing was decided and nothing is held: the stream is asked for again when the database is back.
            return True
        return True

    async def _told(self, call: InFlightCall, uris: frozenset[str]) -> AsyncGenerator[JsonObject, None]:
        modern = self.caller.message.modern
        key: Key = (self.id, call.server.id)
        try:
            async with self.upstreams.use(
                key,
                call.target,
                modern=modern,
                before_send=call.may_start,
                before_next=call.may_go_on,
                caller=call.view.token.identity.id.int,
            ) as connection:
                guard = call.may_start
                if isinstance(connection, LegacySession):
                    await _subscribe(connection, uris, guard)
                    guard = call.may_go_on
                wanted: JsonObject = {
                    "resourceSubscriptions": [*sorted(uris)],
                    "resourcesListChanged": True,
                    "promptsListChanged": self.sight.reaches(Part.PROMPTS, call.server.id),
                }
                async with aclosing(connection.listen(wanted, self.times, before_send=guard)) as told:
                    async for message in told:
                        yield message
        except McpUpstreamError as error:
            raise upstream_refused(error) from None

    def _take(self, message: JsonObject, call: InFlightCall, uris: frozenset[str]) -> None:
        method, params, server = message["method"], message.get("params"), call.server
        part = _LISTS.get(method) if isinstance(method, str) else None
        if method == "notifications/tools/list_changed":
            self.sync_requests.request_sync(server.id)
        elif part is not None and self.sight.reaches(part, server.id):
            self.news.changed((part.value,))
        elif method == "notifications/resources/updated" and isinstance(params, dict):
            uri = params.get("uri")
            # What changed may lie below what was subscribed to.
            if isinstance(uri, str) and any(uri.startswith(own) for own in uris):
                raw = Answer(None, secrets_of(call.target)).redact(dump(uri), uri)
                self.news.updated(joined_uri(server.slug, parse(raw)))


async def _subscribe(session: LegacySession, uris: frozenset[str], may_start: Callable[[], bool]) -> None:
    """Ask for each; one that the server does not know is no reason not to hear of the others."""
    for uri in sorted(uris):
        try:
            await session.request("resources/subscribe", {"uri": uri}, before_send=may_start)
        except McpUpstreamError as error:
            if error.kind != "rpc":
                raise


Uris = Callable[[], Awaitable[Iterable[str]]]
"""The resources that the client wants to hear of, as they are named here."""
GAP_SECONDS = 1.0
"""Between two tellings: a server that says more gets less said."""
_FLAGS = {TOOLS: "toolsListChanged", PROMPTS: "promptsListChanged", RESOURCES: "resourcesListChanged"}
_SUBSCRIPTIONS = "resourceSubscriptions"


def wanted_by(caller: Caller) -> dict[str, Any]:
    """What a modern client listens for. Raises ``Refused`` for another shape."""
    wanted = caller.message.params.get("notifications")
    uris = wanted.get(_SUBSCRIPTIONS, []) if isinstance(wanted, dict) else None
    if not isinstance(wanted, dict) or not isinstance(uris, list) or len(uris) > MAX_URIS:
        raise invalid_params(
            f"notifications must be an object, with at most {MAX_URIS} resourceSubscriptions.", modern=True
        )
    if not all(isinstance(uri, str) and len(uri) <= MAX_URI for uri in uris):
        raise invalid_params(
            f"resourceSubscriptions must be strings of {MAX_URI} characters at most.", modern=True
        )
    return wanted


class FleetStream:
    """One stream of one client."""

    def __init__(
        self,
        pipeline: Pipeline,
        upstreams: UpstreamSessions,
        sync_requests: SyncRequests,
        times: Timeouts,
        caller: Caller,
    ) -> None:
        self._pipeline = pipeline
        self._upstreams = upstreams
        self._sync_requests = sync_requests
        self._times = times
        self._caller = caller
        self._exchange = caller.exchange
        self._looked: tuple[View, float] | None = None
        self.uris_moved = asyncio.Event()
        """Set to have the subscriptions looked at again."""

    def access(self) -> FleetAccess:
        """What the stream rests on."""
        return FleetAccess(
            "mcp.listen",
            None,
            self._exchange.address,
            session_id=self._caller.session_id,
            look=self._look,
        )

    def _look(self, view: View, at: float) -> None:
        self._looked = view, at
        self.uris_moved.set()

    async def listen(self, call: InFlightCall, wanted: dict[str, Any]) -> str:
        """A modern stream: what is wanted, as far as the token may hear of it, is acknowledged first."""
        sight = await self._sight(call.view)
        reached = {kind for kind, there in ((PROMPTS, sight.prompts), (RESOURCES, sight.resources)) if there}
        heard = listened_for(wanted, frozenset(reached))
        kept = {key: True for key in _FLAGS.values() if heard.get(key) is True}
        subscribed = [uri for uri in heard.get(_SUBSCRIPTIONS, []) if split_uri(uri) is not None]
        news = News([kind for kind, flag in _FLAGS.items() if flag in kept], self._caller.message.id)
        acknowledged = {**kept, _SUBSCRIPTIONS: subscribed} if subscribed else kept
        first = news.message("subscriptions/acknowledged", notifications=acknowledged)

        async def uris() -> Iterable[str]:
            return subscribed

        return await self._run(call, news, uris, encode_event(dump(first)))

    async def hear(self, call: InFlightCall, uris: Uris) -> str:
        """A legacy stream: of all that the token may hear of, and what its session subscribed to."""
        return await self._run(call, News(_FLAGS, None), uris, b"")

    async def _run(self, call: InFlightCall, news: News, uris: Uris, first: bytes) -> str:
        links = Links(
            self._pipeline,
            self._upstreams,
            self._sync_requests,
            self._caller,
            news,
            call.view,
            await self._sight(call.view),
            self._times,
        )
        with Watch(self._exchange, call, modern=True) as watch:
            watch.streaming = True
            await self._exchange.stream(first)
            arranging = asyncio.create_task(self._arrange(links, uris))
            try:
                async with asyncio.timeout(self._times.total):
                    while True:
                        for message in await news.next():
                            await self._exchange.stream(encode_event(dump(message)))
                        await asyncio.sleep(GAP_SECONDS)
            except TimeoutError:
                await self._exchange.stream(news.end(self._caller.message.id), last=True)
                return "success"
            finally:
                arranging.cancel()
                await asyncio.gather(arranging, return_exceptions=True)
                await links.close()

    async def _arrange(self, links: Links, uris: Uris) -> None:
        """Keep the streams behind this one as they are wanted, and tell what is seen otherwise than before."""
        while True:
            self.uris_moved.clear()
            if self._looked is not None:
                (view, at), self._looked = self._looked, None
                sight = await sight_of(view, at, self._exchange.address)
                links.news.changed(sight.differs(links.sight))
                links.view, links.sight = view, sight
            try:
                links.arrange(await uris())
            except StoreUnavailable:
                await asyncio.sleep(FIRST_WAIT)
                continue
            await self.uris_moved.wait()

    async def _sight(self, view: View) -> Sight:
        return await sight_of(view, self._pipeline.snapshots.now(), self._exchange.address)
