"""Callers that call as fast as they get answers, and a history of every call on one clock."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import takewhile
from time import monotonic
from uuid import uuid4

from tests.faults.upstream import ECHO
from tests.faults.wire import BROKEN, Answer, Connection, Way, tool_result

DEADLINE_S = 30.0
_RECONNECT_S = 0.02


@dataclass(slots=True)
class Call:
    """One call. Times are of CLOCK_MONOTONIC in seconds; ``ended`` is None while it runs."""

    id: str
    port: int
    started: float
    ended: float | None = None
    answer: Answer | None = None
    """None also when the connection broke off."""

    @property
    def ran(self) -> bool:
        """Whether its result came back."""
        return self.answer is not None and tool_result(self.answer) is not None


class Load:
    """Callers at work. ``history`` has every call in the order of their starts."""

    def __init__(self, way: Way) -> None:
        self.history: list[Call] = []
        self.in_flight: dict[int, set[str]] = {}
        """By port, the ids of the calls that wait for an answer now."""
        self._way = way
        self._stopping = False
        self._news = asyncio.Condition()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds, looked at whenever a call ends. Raises ``TimeoutError``."""
        async with asyncio.timeout(DEADLINE_S), self._news:
            await self._news.wait_for(holds)

    async def answered(self, ports: Sequence[int], count: int, *, since: float) -> None:
        """Wait until each gateway has answered so many calls that started after ``since``."""

        def enough() -> bool:
            return all(len(self.calls(port, since=since)) >= count for port in ports)

        await self.until(enough)

    def calls(self, port: int, *, since: float) -> list[Call]:
        """The calls to one gateway that started after ``since`` and were answered, newest first."""
        recent = takewhile(lambda call: call.started > since, reversed(self.history))
        return [call for call in recent if call.port == port and call.answer is not None]

    def stop(self) -> None:
        """Begin no more calls."""
        self._stopping = True

    async def work(self, port: int) -> None:
        """One caller: call after call on one connection, a new one when that breaks."""
        connection: Connection | None = None
        while not self._stopping:
            if connection is None:
                try:
                    connection = await Connection.open(port)
                except OSError:
                    # The gateway is down and will be back; the test's own deadline watches that.
                    await asyncio.sleep(_RECONNECT_S)
                    continue
            call = Call(uuid4().hex, port, monotonic())
            self.history.append(call)
            waiting = self.in_flight.setdefault(port, set())
            waiting.add(call.id)
            wire = self._way.call(ECHO, call.id)
            try:
                call.answer = await connection.exchange(wire)
            except BROKEN:
                connection.close()
                connection = None
            call.ended = monotonic()
            waiting.discard(call.id)
            if call.answer is not None and call.answer.headers.get(b"connection") == b"close":
                assert connection is not None
                connection.close()
                connection = None
            async with self._news:
                self._news.notify_all()
        if connection is not None:
            connection.close()


@asynccontextmanager
async def load(way: Way, ports: Sequence[int], callers: int = 4) -> AsyncIterator[Load]:
    """Call with so many callers at each gateway until the end of the block; their last calls are waited for."""
    running = Load(way)
    async with asyncio.TaskGroup() as group:
        for port in ports:
            for _ in range(callers):
                group.create_task(running.work(port))
        try:
            yield running
        finally:
            running.stop()
