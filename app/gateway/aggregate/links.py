"""Streams of ours with upstreams, behind a stream on ``/mcp``: to hear of the resources that its client subscribed to.

One is held with each server that such a resource is of, and with no other: a stream with every server for every client
would be a great many that nearly always say nothing.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from time import monotonic
from uuid import UUID, uuid4

from app.admission.store import StoreUnavailable, SyncRequests, View
from app.domain.objects import Part
from app.gateway.aggregate.calls import Caller, upstream_refused
from app.gateway.aggregate.fleet import Sight
from app.gateway.aggregate.names import joined_uri, split_uri
from app.gateway.aggregate.news import News
from app.gateway.asking import Ask
from app.gateway.pipeline import Cut, Denied, Passed, Pipeline
from app.gateway.upstream_sessions import Key, UpstreamSessions
from app.gateway.wire.answers import Answer, dump, parse, secrets_of
from app.gateway.wire.refusals import Refused
from app.lib.strict_json import JsonObject
from app.outbound.http import Timeouts
from app.outbound.mcp import LegacySession, McpUpstreamError

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

        async def forward(passed: Passed) -> str:
            async with aclosing(self._told(passed, uris)) as told:
                async for message in told:
                    self._take(message, passed, uris)
            return "success"

        exchange, message = self.caller.exchange, self.caller.message
        ask = Ask(
            "mcp.listen",
            message.method,
            slug,
            exchange.address,
            part=Part.RESOURCES,
            session_id=self.caller.session_id,
        )
        try:
            await self.pipeline.run(exchange, self.view, ask, forward)
        except (Denied, Cut):
            return False
        except Refused as refused:
            return refused.status not in {401, 404}
        except StoreUnavailable:
            # Nothing was decided and nothing is held: the stream is asked for again when the database is back.
            return True
        return True

    async def _told(self, passed: Passed, uris: frozenset[str]) -> AsyncGenerator[JsonObject, None]:
        flight, modern = passed.flight, self.caller.message.modern
        key: Key = (self.id, passed.on.id)
        try:
            async with self.upstreams.use(
                key,
                passed.to,
                modern=modern,
                before_send=flight.may_start,
                before_next=flight.may_go_on,
                caller=passed.view.token.identity.id.int,
            ) as connection:
                guard = flight.may_start
                if isinstance(connection, LegacySession):
                    await _subscribe(connection, uris, guard)
                    guard = flight.may_go_on
                wanted: JsonObject = {
                    "resourceSubscriptions": [*sorted(uris)],
                    "resourcesListChanged": True,
                    "promptsListChanged": self.sight.reaches(Part.PROMPTS, passed.on.id),
                }
                async with aclosing(connection.listen(wanted, self.times, before_send=guard)) as told:
                    async for message in told:
                        yield message
        except McpUpstreamError as error:
            raise upstream_refused(error) from None

    def _take(self, message: JsonObject, passed: Passed, uris: frozenset[str]) -> None:
        method, params, server = message["method"], message.get("params"), passed.on
        part = _LISTS.get(method) if isinstance(method, str) else None
        if method == "notifications/tools/list_changed":
            self.sync_requests.request_sync(server.id)
        elif part is not None and self.sight.reaches(part, server.id):
            self.news.changed((part.value,))
        elif method == "notifications/resources/updated" and isinstance(params, dict):
            uri = params.get("uri")
            # What changed may lie below what was subscribed to.
            if isinstance(uri, str) and any(uri.startswith(own) for own in uris):
                raw = Answer(None, secrets_of(passed.to)).redact(dump(uri), uri)
                self.news.updated(joined_uri(server.slug, parse(raw)))


async def _subscribe(session: LegacySession, uris: frozenset[str], may_start: Callable[[], bool]) -> None:
    """Ask for each; one that the server does not know is no reason not to hear of the others."""
    for uri in sorted(uris):
        try:
            await session.request("resources/subscribe", {"uri": uri}, before_send=may_start)
        except McpUpstreamError as error:
            if error.kind != "rpc":
                raise
