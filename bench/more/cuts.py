"""Revocation: what is admitted after it was answered, and how soon a stream ends. On another replica than was asked.

Two gateways stand on one database. Streams are open at the second; the first is told to revoke their tokens, one
after another, while each token is also used for calls at both.
"""

import asyncio
import json
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from time import perf_counter
from typing import cast

import uvloop

from app.kit.ids import TOKEN, format_id
from bench.ground import Ground
from bench.load import Connection, WrongAnswer
from bench.messages import MODERN, TOOL, Requests, http_head, make_listen, make_requests
from bench.processes import CannotMeasure, Running
from bench.seed import SLUG
from bench.targets import Figure, at_most

_PATH = f"/mcp/{SLUG}"
_PATIENCE = 30.0
_MORE_CALLS = 3
"""Made with a token after its revocation was answered."""


@dataclass(slots=True)
class Cut:
    """What one revocation did. Milliseconds from the moment that it was asked for."""

    stream: float
    answer: float
    admitted: int
    """Calls that began after the answer and were forwarded."""
    calls: int


class _Stream(asyncio.Protocol):
    """A client that listens."""

    def __init__(self, wire: bytes) -> None:
        loop = asyncio.get_running_loop()
        self._wire = wire
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self.begun: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[float] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the stream."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._wire)

    def data_received(self, data: bytes) -> None:
        """It begins with an event, and ends with the empty chunk."""
        self._buffer += data
        if not self.begun.done() and b"subscriptions/acknowledged" in self._buffer:
            self.begun.set_result(None)
        if self._buffer.endswith(b"0\r\n\r\n"):
            self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        """It ended hard, or never began."""
        if not self.begun.done():
            said = self._buffer[:500].decode("utf-8", "replace")
            self.begun.set_exception(CannotMeasure(f"no stream: {said}"))
        self._end()

    def close(self) -> None:
        """Leave it."""
        if self._transport is not None:
            self._transport.abort()

    def _end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(perf_counter())


@dataclass(slots=True)
class _Caller:
    """Calls with one token at one replica until told to stop, and a few more."""

    connection: Connection
    requests: Requests
    called: asyncio.Event = field(default_factory=asyncio.Event)
    revoked: asyncio.Event = field(default_factory=asyncio.Event)
    calls: list[tuple[float, bool]] = field(default_factory=list)
    """When each began, and whether it was forwarded."""

    async def run(self) -> None:
        number, left = 0, _MORE_CALLS
        while left:
            left -= self.revoked.is_set()
            number += 1
            began = perf_counter()
            head, body = await self.connection.ask(self.requests.wire(number))
            self.calls.append((began, self.requests.is_right(number, head + b"\r\n\r\n" + body)))
            self.called.set()


def measure(ground: Ground) -> list[Figure]:
    """Revoke every token that was seeded."""
    core = {ground.cores.system}
    with (
        ground.gateway("asked", core, SCOPEGATE_LIMIT_REQUESTS="0") as asked,
        ground.gateway("other", core) as other,
    ):
        bearer = ground.bearer(asked)
        cuts = uvloop.run(_revoke_all(ground, asked, other, bearer))
    ranked = sorted(cut.stream for cut in cuts)
    calls = sum(cut.calls for cut in cuts)
    answered = f"the answer took {median(cut.answer for cut in cuts):.0f} ms"
    return [
        Figure(
            "calls admitted after a revocation's answer",
            sum(cut.admitted for cut in cuts),
            "",
            at_most(0),
            f"of {calls:,} at both replicas, {len(cuts)} revocations",
        ),
        Figure(
            "stream cut at the other replica, p50", _rank(ranked, 0.5), "ms", None, f"from asking; {answered}"
        ),
        Figure(
            "stream cut at the other replica, p99", _rank(ranked, 0.99), "ms", at_most(100), "from asking"
        ),
    ]


def _rank(ranked: list[float], share: float) -> float:
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))]


async def _revoke_all(ground: Ground, asked: Running, other: Running, bearer: str) -> list[Cut]:
    seeded = ground.seeded
    streams = [await _listen(other.port, credential) for credential in seeded.credentials]
    api = await Connection.open(asked.port)
    try:
        async with asyncio.timeout(_PATIENCE):
            await asyncio.gather(*(stream.begun for stream in streams))
        cuts = []
        for token, credential, stream in zip(seeded.tokens, seeded.credentials, streams, strict=True):
            wire = _revocation(asked.port, bearer, format_id(TOKEN, token))
            callers = [await _caller(process.port, credential) for process in (asked, other)]
            cuts.append(await _revoke(api, wire, stream, callers))
        return cuts
    finally:
        api.close()
        for stream in streams:
            stream.close()


async def _listen(port: int, credential: str) -> _Stream:
    wire = make_listen(f"127.0.0.1:{port}", _PATH, credential)
    _, stream = await asyncio.get_running_loop().create_connection(partial(_Stream, wire), "127.0.0.1", port)
    return stream


def _revocation(port: int, bearer: str, token: str) -> bytes:
    body = json.dumps({"reason": "benchmark"}).encode()
    return http_head("POST", f"127.0.0.1:{port}", f"/api/v1/tokens/{token}/revoke", bearer, len(body)) + body


async def _caller(port: int, credential: str) -> _Caller:
    requests = make_requests(f"127.0.0.1:{port}", _PATH, TOOL, MODERN, [credential])
    return _Caller(await Connection.open(port), requests)


async def _revoke(api: Connection, wire: bytes, stream: _Stream, callers: list[_Caller]) -> Cut:
    running = [asyncio.create_task(caller.run()) for caller in callers]
    for caller in callers:
        await caller.called.wait()
    if stream.ended.done() or not all(caller.calls[0][1] for caller in callers):
        raise CannotMeasure("a token did not work before it was revoked")
    asked_at = perf_counter()
    head, body = await api.ask(wire)
    answered_at = perf_counter()
    if not head.startswith(b"HTTP/1.1 200 "):
        raise WrongAnswer((head + b"\r\n\r\n" + body).decode("utf-8", "replace"))
    for caller in callers:
        caller.revoked.set()
    async with asyncio.timeout(_PATIENCE):
        ended_at = await stream.ended
        await asyncio.gather(*running)
    for caller in callers:
        caller.connection.close()
    late = [forwarded for caller in callers for began, forwarded in caller.calls if began > answered_at]
    return Cut((ended_at - asked_at) * 1000, (answered_at - asked_at) * 1000, sum(late), len(late))
