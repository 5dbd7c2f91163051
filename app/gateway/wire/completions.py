"""Word that an approval was decided, on the streams of legacy clients that were led to one: they may repeat the call.

Which session of a token asked is not known everywhere, so all of its streams are told; a client passes over what it
does not know (MCP 2025-11-25, ``notifications/elicitation/complete``).
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from uuid import UUID

from app.gateway.wire.http import Exchange
from app.lib import strict_json
from app.lib.ids import APPROVAL, format_id
from app.lib.sse import encode_event


class Completions:
    """The streams of this worker, by token."""

    def __init__(self) -> None:
        self._streams: defaultdict[UUID, set[Exchange]] = defaultdict(set)
        self._telling: set[asyncio.Task[None]] = set()

    def __bool__(self) -> bool:
        """Whether anybody listens."""
        return bool(self._streams)

    @contextmanager
    def told_on(self, exchange: Exchange, token_id: UUID, *, leads: bool) -> Iterator[None]:
        """Tell of the token's approvals on this stream, where its client said that it leads its user."""
        if not leads:
            yield
            return
        self._streams[token_id].add(exchange)
        try:
            yield
        finally:
            self._streams[token_id].discard(exchange)
            if not self._streams[token_id]:
                del self._streams[token_id]

    def decided(self, approval_id: UUID, token_id: UUID) -> None:
        """Tell whoever called with the token that the approval was decided, one way or the other."""
        message: strict_json.JsonObject = {
            "jsonrpc": "2.0",
            "method": "notifications/elicitation/complete",
            "params": {"elicitationId": format_id(APPROVAL, approval_id)},
        }
        event = encode_event(strict_json.dumps(message))
        for exchange in self._streams.get(token_id, ()):
            if exchange.started and not exchange.complete:
                task = asyncio.get_running_loop().create_task(_tell(exchange, event))
                self._telling.add(task)
                task.add_done_callback(self._telling.discard)


async def _tell(exchange: Exchange, event: bytes) -> None:
    # The stream may end, or its client leave, before its turn comes.
    with suppress(RuntimeError, OSError):
        await exchange.stream(event)
