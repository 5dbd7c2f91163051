"""The load: callers on keep-alive connections, each with one request at a time. Every answer is checked."""

import asyncio
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Protocol, cast

_HEAD_END = b"\r\n\r\n"
_GRACE_SECONDS = 30.0
_numbers = iter(range(1, 1_000_000_000))


class WrongAnswer(Exception):
    """A system does not answer the measured call correctly; the message shows the answer."""


class Work(Protocol):
    """Numbered requests to one system, and the checks of their answers."""

    def wire(self, number: int) -> bytes:
        """The bytes of the request with this number."""

    def is_right(self, number: int, answer: bytes) -> bool:
        """Check an answer quickly, under load."""

    def is_exactly_right(self, number: int, head: bytes, body: bytes) -> bool:
        """Check an answer completely. May raise ``ValueError``, ``KeyError`` or ``TypeError`` for a wrong one."""


@dataclass(slots=True)
class Sample:
    """The results of one run. Times are in milliseconds; ``calls`` counts calls within the measured window."""

    callers: int
    seconds: float
    calls: int = 0
    all_calls: int = 0
    """Includes errors of the settling time before the window."""
    errors: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Correct answers per second."""
        return self.calls / self.seconds

    def percentile(self, share: float) -> float:
        """Return the latency of this quantile; NaN without calls."""
        if not self.latencies:
            return math.nan
        ranked = sorted(self.latencies)
        return ranked[min(len(ranked) - 1, int(share * len(ranked)))]


class _Run:
    """The shared state of the callers of one run."""

    def __init__(self, work: Work, sample: Sample, settle: float) -> None:
        self.work = work
        self.sample = sample
        self.opens_at = perf_counter() + settle
        self.closes_at = self.opens_at + sample.seconds
        self.over = asyncio.get_running_loop().create_future()
        self.active = sample.callers

    def answered(self, sent_at: float, now: float) -> None:
        """Count a correct answer."""
        self.sample.all_calls += 1
        if self.opens_at <= now < self.closes_at:
            self.sample.calls += 1
            self.sample.latencies.append((now - sent_at) * 1000)

    def failed(self, why: str) -> None:
        """Count a wrong or lost answer."""
        self.sample.errors[why] += 1

    def caller_left(self) -> None:
        """Count a caller that has finished."""
        self.active -= 1
        if self.active == 0 and not self.over.done():
            self.over.set_result(None)


class _Caller(asyncio.Protocol):
    """One connection that sends the next request as soon as the answer has arrived."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._run: _Run | None = None
        self._buffer = b""
        self._number = 0
        self._sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport. ``start`` sends the first request."""
        self._transport = cast("asyncio.Transport", transport)

    def start(self, run: _Run) -> None:
        """Begin to call."""
        self._run = run
        self._send()

    def close(self) -> None:
        """End the connection."""
        if self._transport is not None:
            self._transport.abort()

    def _send(self) -> None:
        run, transport = self._run, self._transport
        if run is None:
            return
        if transport is None or transport.is_closing():
            self._leave("connection closed")
            return
        self._number = next(_numbers)
        wire = run.work.wire(self._number)
        self._sent_at = perf_counter()
        transport.write(wire)

    def _leave(self, why: str | None) -> None:
        run, self._run = self._run, None
        if run is not None:
            if why is not None:
                run.failed(why)
            run.caller_left()

    def data_received(self, data: bytes) -> None:
        """Collect the answer. When it is complete, check it and send the next request."""
        run = self._run
        if run is None:
            return
        if self._buffer:
            data = self._buffer + data
        if not _is_whole(data):
            self._buffer = data
            return
        now = perf_counter()
        self._buffer = b""
        if run.work.is_right(self._number, data):
            run.answered(self._sent_at, now)
        else:
            run.failed(data[:12].decode("latin-1") if data[9:10] != b"2" else "wrong answer")
        if now < run.closes_at:
            self._send()
        else:
            self._leave(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Count a pending call as failed, because the system closed the connection."""
        self._leave("connection lost")


def _is_whole(data: bytes) -> bool:
    head_end = data.find(_HEAD_END)
    if head_end < 0:
        return False
    head = data[:head_end].lower()
    at = head.find(b"\r\ncontent-length:")
    if at >= 0:
        line_end = head.find(b"\r\n", at + 2)
        length = int(head[at + 17 : line_end if line_end > 0 else len(head)])
        return len(data) >= head_end + len(_HEAD_END) + length
    # Without a length, the answer is chunked. Only its last chunk is empty.
    return data.endswith(b"0\r\n\r\n")


async def apply(port: int, work: Work, callers: int, seconds: float, settle: float) -> Sample:
    """Load one system for ``settle`` seconds that do not count, then for ``seconds`` that do."""
    loop = asyncio.get_running_loop()
    connections: list[_Caller] = []
    for _ in range(callers):
        _, caller = await loop.create_connection(_Caller, "127.0.0.1", port)
        connections.append(caller)
    sample = Sample(callers, seconds)
    run = _Run(work, sample, settle)
    for caller in connections:
        caller.start(run)
    try:
        async with asyncio.timeout(settle + seconds + _GRACE_SECONDS):
            await run.over
    except TimeoutError:
        sample.errors["no answer"] += run.active
    finally:
        for caller in connections:
            caller.close()
    return sample


class Connection:
    """One connection that sends one request at a time and waits for its complete answer."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, port: int) -> "Connection":
        """Connect to a port of 127.0.0.1."""
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def ask(self, wire: bytes) -> tuple[bytes, bytes]:
        """Return head and body of the answer. Raises ``WrongAnswer`` without an answer."""
        answer = b""
        try:
            self._writer.write(wire)
            async with asyncio.timeout(_GRACE_SECONDS):
                while not _is_whole(answer):
                    piece = await self._reader.read(65536)
                    if not piece:
                        raise WrongAnswer(f"the connection closed after {answer!r}")
                    answer += piece
        except (TimeoutError, OSError) as error:
            raise WrongAnswer(f"no answer: {error!r}") from None
        head, _, body = answer.partition(_HEAD_END)
        return head, _unchunked(body) if b"transfer-encoding: chunked" in head.lower() else body

    def close(self) -> None:
        """Close the connection."""
        self._writer.close()


async def check(port: int, work: Work, count: int) -> None:
    """Make single calls on separate connections and check each answer completely. Raises ``WrongAnswer``."""
    for _ in range(count):
        number = next(_numbers)
        connection = await Connection.open(port)
        try:
            head, body = await connection.ask(work.wire(number))
        finally:
            connection.close()
        try:
            right = work.is_exactly_right(number, head, body)
        except (ValueError, KeyError, TypeError):
            right = False
        if not right:
            raise WrongAnswer((head + _HEAD_END + body).decode("utf-8", "replace"))


def _unchunked(body: bytes) -> bytes:
    parts = []
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size, 16)
        parts.append(rest[:length])
        body = rest[length + 2 :]
        if length == 0:
            break
    return b"".join(parts)


def merge_errors(samples: Sequence[Sample]) -> Counter[str]:
    """Add up the errors of several runs, by kind."""
    total: Counter[str] = Counter()
    for sample in samples:
        total.update(sample.errors)
    return total
