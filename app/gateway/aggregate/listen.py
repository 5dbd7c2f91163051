"""Streams that stay open on ``/mcp``: the legacy GET and ``subscriptions/listen``.

They tell of lists that may have changed for this token, because its access or the fleet did, and of resources that its
client subscribed to.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from app.admission.store import StoreUnavailable, SyncRequests, View
from app.gateway.aggregate.calls import Caller
from app.gateway.aggregate.fleet import PROMPTS, RESOURCES, TOOLS, FleetAsk, Sight, sight_of
from app.gateway.aggregate.links import FIRST_WAIT, Links
from app.gateway.aggregate.names import split_uri
from app.gateway.aggregate.news import MAX_URI, MAX_URIS, News
from app.gateway.pipeline import Passed, Pipeline
from app.gateway.relay import Watch
from app.gateway.upstream_sessions import UpstreamSessions
from app.gateway.wire.answers import dump
from app.gateway.wire.methods import listened_for
from app.gateway.wire.refusals import invalid_params
from app.lib.sse import encode_event
from app.outbound.http import Timeouts

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

    def ask(self) -> FleetAsk:
        """What the stream rests on."""
        message = self._caller.message
        return FleetAsk(
            "mcp.listen",
            message.method,
            None,
            self._exchange.address,
            session_id=self._caller.session_id,
            look=self._look,
        )

    def _look(self, view: View, at: float) -> None:
        self._looked = view, at
        self.uris_moved.set()

    async def listen(self, passed: Passed, wanted: dict[str, Any]) -> str:
        """A modern stream: what is wanted, as far as the token may hear of it, is acknowledged first."""
        sight = await self._sight(passed.view)
        reached = {kind for kind, there in ((PROMPTS, sight.prompts), (RESOURCES, sight.resources)) if there}
        heard = listened_for(wanted, frozenset(reached))
        kept = {key: True for key in _FLAGS.values() if heard.get(key) is True}
        subscribed = [uri for uri in heard.get(_SUBSCRIPTIONS, []) if split_uri(uri) is not None]
        news = News([kind for kind, flag in _FLAGS.items() if flag in kept], self._caller.message.id)
        acknowledged = {**kept, _SUBSCRIPTIONS: subscribed} if subscribed else kept
        first = news.message("subscriptions/acknowledged", notifications=acknowledged)

        async def uris() -> Iterable[str]:
            return subscribed

        return await self._run(passed, news, uris, encode_event(dump(first)))

    async def hear(self, passed: Passed, uris: Uris) -> str:
        """A legacy stream: of all that the token may hear of, and what its session subscribed to."""
        return await self._run(passed, News(_FLAGS, None), uris, b"")

    async def _run(self, passed: Passed, news: News, uris: Uris, first: bytes) -> str:
        links = Links(
            self._pipeline,
            self._upstreams,
            self._sync_requests,
            self._caller,
            news,
            passed.view,
            await self._sight(passed.view),
            self._times,
        )
        with Watch(self._exchange, passed.flight, modern=True) as watch:
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
