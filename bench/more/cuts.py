"""The benchmark of revocation on three replicas: late admissions, and the time until calls are refused and streams end.

Three gateways share one database. Each token has an open stream and makes calls at each of them. The tokens are
revoked one after another at the first gateway.
"""

import asyncio
import json
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from time import perf_counter
from typing import cast
from uuid import UUID

import uvloop

from app.lib.ids import TOKEN, format_id
from bench.load import Connection, WrongAnswer
from bench.messages import MODERN, TOOL, Requests, http_head, make_listen, make_requests
from bench.processes import CannotMeasure, Running
from bench.seed import SLUG
from bench.targets import Figure, at_most
from bench.testbed import Testbed

_PATH = f"/mcp/{SLUG}"
_TIMEOUT_S = 120.0
_MORE_CALLS = 3
"""Calls with a token after its revocation was answered."""
_AT_ONCE = 50
"""Tokens with open streams at a time."""


@dataclass(slots=True)
class Cut:
    """The results of one revocation, in milliseconds after its request, by replica."""

    streams: list[float]
    refusals: list[float]
    """The time of the first refusal."""
    answer: float
    admitted: int
    """Calls that started after the answer and were forwarded."""
    calls: int


class _Stream(asyncio.Protocol):
    """A listening client."""

    def __init__(self, wire: bytes) -> None:
        loop = asyncio.get_running_loop()
        self._wire = wire
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self.begun: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[float] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Request the stream."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._wire)

    def data_received(self, data: bytes) -> None:
        """Detect the first event and the last, empty chunk."""
        self._buffer += data
        if not self.begun.done() and b"subscriptions/acknowledged" in self._buffer:
            self.begun.set_result(None)
        if self._buffer.endswith(b"0\r\n\r\n"):
            self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        """Record that the stream was closed without its end, or never started."""
        if not self.begun.done():
            said = self._buffer[:500].decode("utf-8", "replace")
            self.begun.set_exception(CannotMeasure(f"no stream: {said}"))
        self._end()

    def close(self) -> None:
        """Close the stream."""
        if self._transport is not None:
            self._transport.abort()

    def _end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(perf_counter())


@dataclass(slots=True)
class _Caller:
    """Calls with one token at one replica until stopped, and a few more."""

    connection: Connection
    requests: Requests
    called: asyncio.Event = field(default_factory=asyncio.Event)
    revoked: asyncio.Event = field(default_factory=asyncio.Event)
    calls: list[tuple[float, float, bool]] = field(default_factory=list)
    """Start, end, and whether the call was forwarded."""

    async def run(self) -> None:
        number, left = 0, _MORE_CALLS
        while left:
            left -= self.revoked.is_set()
            number += 1
            began = perf_counter()
            head, body = await self.connection.ask(self.requests.wire(number))
            right = self.requests.is_right(number, head + b"\r\n\r\n" + body)
            self.calls.append((began, perf_counter(), right))
            self.called.set()


def measure(testbed: Testbed) -> list[Figure]:
    """Revoke every seeded token."""
    core = {testbed.cores.system}
    with (
        testbed.gateway("asked", core, SCOPEGATE_LIMIT_REQUESTS="0") as asked,
        testbed.gateway("second", core) as second,
        testbed.gateway("third", core) as third,
    ):
        bearer = testbed.bearer(asked)
        cuts = uvloop.run(_revoke_all(testbed, [asked, second, third], bearer))
    calls = sum(cut.calls for cut in cuts)
    answered = f"the answer took {median(cut.answer for cut in cuts):.0f} ms"
    return [
        Figure(
            "calls admitted after a revocation's answer",
            sum(cut.admitted for cut in cuts),
            "",
            at_most(0),
            f"of {calls:,} at three replicas, {len(cuts)} revocations",
        ),
        *_figures(
            "call refused at each of three replicas", [at for cut in cuts for at in cut.refusals], answered
        ),
        *_figures(
            "stream cut at each of three replicas", [at for cut in cuts for at in cut.streams], answered, 100
        ),
    ]


def _figures(what: str, times: list[float], answered: str, p99: float | None = None) -> list[Figure]:
    ranked = sorted(times)
    target = None if p99 is None else at_most(p99)
    return [
        Figure(f"{what}, p50", _rank(ranked, 0.5), "ms", None, f"from asking; {answered}"),
        Figure(f"{what}, p99", _rank(ranked, 0.99), "ms", target, "from asking"),
        Figure(f"{what}, max", ranked[-1], "ms", None, f"of {len(ranked):,}"),
    ]


def _rank(ranked: list[float], share: float) -> float:
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))]


async def _revoke_all(testbed: Testbed, replicas: list[Running], bearer: str) -> list[Cut]:
    seeded = testbed.seeded
    tokens = list(zip(seeded.tokens, seeded.credentials, strict=True))
    cuts: list[Cut] = []
    for begin in range(0, len(tokens), _AT_ONCE):
        cuts += await _revoke_some(replicas, bearer, tokens[begin : begin + _AT_ONCE])
    return cuts


async def _revoke_some(replicas: list[Running], bearer: str, tokens: list[tuple[UUID, str]]) -> list[Cut]:
    """Revoke each of these tokens, while the streams of the others are open."""
    ports = [replica.port for replica in replicas]
    streams = [[await _listen(port, credential) for port in ports] for _, credential in tokens]
    every = [stream for own in streams for stream in own]
    api = await Connection.open(ports[0])
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            await asyncio.gather(*(stream.begun for stream in every))
        cuts = []
        for (token, credential), own in zip(tokens, streams, strict=True):
            wire = _revocation(ports[0], bearer, format_id(TOKEN, token))
            cuts.append(await _revoke(api, wire, own, [await _caller(port, credential) for port in ports]))
        return cuts
    finally:
        api.close()
        for stream in every:
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


async def _revoke(api: Connection, wire: bytes, streams: list[_Stream], callers: list[_Caller]) -> Cut:
    running = [asyncio.create_task(caller.run()) for caller in callers]
    for caller in callers:
        await caller.called.wait()
    if any(stream.ended.done() for stream in streams) or not all(caller.calls[0][2] for caller in callers):
        raise CannotMeasure("a token did not work before it was revoked")
    asked_at = perf_counter()
    head, body = await api.ask(wire)
    answered_at = perf_counter()
    if not head.startswith(b"HTTP/1.1 200 "):
        raise WrongAnswer((head + b"\r\n\r\n" + body).decode("utf-8", "replace"))
    for caller in callers:
        caller.revoked.set()
    async with asyncio.timeout(_TIMEOUT_S):
        ends = [await stream.ended for stream in streams]
        await asyncio.gather(*running)
    for caller in callers:
        caller.connection.close()
    late = [forwarded for caller in callers for began, _, forwarded in caller.calls if began > answered_at]
    refused = [next(end for _, end, forwarded in caller.calls if not forwarded) for caller in callers]
    return Cut(
        [(at - asked_at) * 1000 for at in ends],
        [(at - asked_at) * 1000 for at in refused],
        (answered_at - asked_at) * 1000,
        sum(late),
        len(late),
    )
