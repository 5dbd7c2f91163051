"""What a stream on ``/mcp`` has to tell: each thing once, however often it was said meanwhile."""

import asyncio
from collections.abc import Iterable
from typing import Any

from app.gateway.aggregate.fleet import Kind
from app.gateway.wire.http import result_body
from app.lib.sse import encode_event

MAX_URIS = 100
MAX_URI = 1024
"""Characters: what is noted of a session stays small."""
LONGEST_URI = 4096
"""Characters: a session's subscriptions are kept as long as its token lives."""

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
