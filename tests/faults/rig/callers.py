"""Callers that make calls through gateways, and record each from start to end."""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from uuid import uuid4

from tests.faults.rig.fleet import Fleet, Token
from tests.faults.rig.history import Call, DriverDelay, Writer
from tests.faults.rig.recorder import ASKS, DIES, FLOODS, MOVED, SILENT, STREAM
from tests.faults.upstream import ECHO, SLOW
from tests.faults.wire import BROKEN, Answer, Connection, tool_result

_RECONNECT_S = 0.05
_TIMEOUT_S = 15.0
"""How long a caller waits for an answer, until it leaves."""
_LOOK_EVERY_S = 0.02
_BEAT_S = 0.5
_SAID = 120
_STREAM_S = (1.0, 6.0)


@dataclass(slots=True)
class Callers:
    """All callers of a run."""

    fleet: Fleet
    writer: Writer
    random: Random
    last_ran: dict[int, float] = field(default_factory=dict)
    """By port, when the newest of the calls started whose result came back."""
    answers: dict[int, int] = field(default_factory=dict)
    """By port, how many answers there were."""
    calls: int = 0
    stopping: bool = False
    pause_s: float = 0.01
    """How long a caller rests between two calls."""

    async def call(
        self, port: int, token: Token, tool: str, *, server: str = "", after: str | None = None, id: str = ""
    ) -> Call:
        """One call on a connection of its own, answered in one piece or left after a while."""
        connection: Connection | None = None
        call = self._begun(port, token, tool, server, id, after)
        with contextlib.suppress(*BROKEN, TimeoutError):
            async with asyncio.timeout(_TIMEOUT_S):
                connection = await Connection.open(port)
                await self._exchange(connection, token, call)
        self._over(call, connection)
        return call

    async def stream(
        self,
        port: int,
        token: Token,
        tool: str,
        until: asyncio.Event,
        begun: Callable[[], None] | None = None,
    ) -> Call:
        """One call that does not end by itself; the caller leaves once ``until`` is set. ``begun`` is set when it
        has begun at the upstream, or never will."""
        connection: Connection | None = None
        call = self._begun(port, token, tool, "", "", None)
        reading = asyncio.create_task(self._read(call, token, begun))
        leaving = asyncio.create_task(until.wait())
        await asyncio.wait([reading, leaving], return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()
        call.left = not reading.done()
        if call.left:
            reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            connection = await reading
        self._over(call, connection)
        return call

    async def unread(self, port: int, token: Token, tool: str, until: asyncio.Event) -> Call:
        """One call whose answer is not read, closed once ``until`` is set."""
        connection: Connection | None = None
        call = self._begun(port, token, tool, "", "", None)
        with contextlib.suppress(*BROKEN):
            connection = await Connection.open(port)
            connection.send(token.way.call(tool, call.id))
        await until.wait()
        call.left = True
        self._over(call, connection)
        return call

    async def _read(self, call: Call, token: Token, begun: Callable[[], None] | None) -> Connection | None:
        connection: Connection | None = None
        try:
            connection = await Connection.open(call.port)
            connection.send(token.way.call(call.tool, call.id))
            if call.tool == SILENT and begun is not None:
                begun()
            status, headers = await connection.head()
            call.status, call.retry_after = status, b"retry-after" in headers
            if headers.get(b"transfer-encoding") == b"chunked" and status == 200:
                while await connection.chunk():
                    # Keep-alives come before the upstream has said anything.
                    if call.opened is None:
                        call.opened, call.ran = time.monotonic(), True
                        if begun is not None:
                            begun()
        except BROKEN:
            pass
        except asyncio.CancelledError:
            if connection is not None:
                connection.close()
            raise
        finally:
            if begun is not None:
                begun()
        return connection

    async def work(self, port: int) -> None:
        """Call after call on one connection, a new one when that breaks."""
        connection: Connection | None = None
        while not self.stopping:
            await asyncio.sleep(self.pause_s * (0.5 + self.random.random()))
            if connection is None:
                try:
                    connection = await Connection.open(port)
                except OSError:
                    await asyncio.sleep(_RECONNECT_S)
                    continue
            token, tool, server = self._choice()
            call = self._begun(port, token, tool, server, "", None)
            try:
                async with asyncio.timeout(_TIMEOUT_S):
                    keeps = await self._exchange(connection, token, call, slug=server)
            except (*BROKEN, TimeoutError) as error:
                call.left = isinstance(error, TimeoutError)
                keeps = False
            self._over(call, None if keeps else connection)
            connection = connection if keeps else None
        if connection is not None:
            connection.close()

    async def linger(self, port: int) -> None:
        """Stream after stream, each left after some seconds unless it ends before."""
        tools = [SLOW, STREAM, STREAM, SILENT, FLOODS, DIES]
        while not self.stopping:
            cell = self.random.choice(self.fleet.cells)
            token, tool = cell.full, self.random.choice(tools)
            if token is None:
                continue
            until = asyncio.Event()
            timer = asyncio.get_running_loop().call_later(self.random.uniform(*_STREAM_S), until.set)
            call = await self.stream(port, token, tool, until)
            timer.cancel()
            await asyncio.sleep(_RECONNECT_S if call.status is None else 0.2)

    async def watch_the_clock(self) -> None:
        """Write down how late this process itself is."""
        began = before = time.monotonic()
        worst = late = 0.0
        while not self.stopping:
            await asyncio.sleep(_LOOK_EVERY_S)
            now = time.monotonic()
            by = max(0.0, now - before - _LOOK_EVERY_S)
            worst, late, before = max(worst, by), late + by, now
            if now - began > _BEAT_S:
                self.writer.write(DriverDelay(began, now, round(worst, 4), round(late, 4)))
                began, worst, late = now, 0.0, 0.0

    def _choice(self) -> tuple[Token, str, str]:
        """Mostly what is allowed; also tokens that are over, tools out of scope, and servers of others."""
        cells, random = self.fleet.cells, self.random
        busy = [cell for cell in cells if cell.lock.locked()] if random.random() < 0.4 else []
        cell = random.choice(busy or cells)
        chance = random.random()
        if chance < 0.1 and cell.dead:
            return random.choice(cell.dead), ECHO, ""
        token = random.choice(cell.live)
        # Not of its own: a token of all grants reaches a new one of its holder before that is written down.
        others = [other.slug for other in cells if other is not cell]
        if chance < 0.15 and others:
            return token, ECHO, random.choice(others)
        if chance < 0.2:
            return token, MOVED, ""
        if token is cell.narrow and chance < 0.5:
            # Nothing but ``echo`` is in its scope.
            return token, random.choice([ASKS, MOVED, DIES]), ""
        return token, ECHO, ""

    def _begun(self, port: int, token: Token, tool: str, server: str, id: str, after: str | None) -> Call:
        self.calls += 1
        call = Call(id or uuid4().hex, port, token.id, server or token.way.slug, tool, time.monotonic())
        call.after = after
        return call

    async def _exchange(self, connection: Connection, token: Token, call: Call, slug: str = "") -> bool:
        """Whether the connection can be used again."""
        answer = await connection.exchange(token.way_to(slug).call(call.tool, call.id))
        call.status, call.retry_after = answer.status, b"retry-after" in answer.headers
        call.ran = _ran(answer)
        call.said = "" if call.ran else _said(answer)
        self.answers[call.port] = self.answers.get(call.port, 0) + 1
        if call.ran:
            self.last_ran[call.port] = max(call.started, self.last_ran.get(call.port, 0.0))
        return answer.headers.get(b"connection") != b"close"

    def _over(self, call: Call, connection: Connection | None) -> None:
        call.ended = time.monotonic()
        if connection is not None:
            connection.close()
        self.writer.write(call)


def _ran(answer: Answer) -> bool:
    if answer.headers.get(b"content-type", b"").startswith(b"text/event-stream"):
        return answer.status == 200
    return tool_result(answer) is not None


def _said(answer: Answer) -> str:
    """The message of a refusal, or as much of its body."""
    try:
        return str(json.loads(answer.body)["error"]["message"])[:_SAID]
    except (ValueError, KeyError, TypeError):
        return answer.body[:_SAID].decode(errors="replace")
