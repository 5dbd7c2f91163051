"""Calls end correctly and are recorded when their upstream is killed or stalls, or their client disconnects.

The upstream is a separate process, killed and stopped by signals.
"""

import asyncio
import json
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app.gateway.limits import CallTimes
from app.outbound.http import Timeouts
from tests.gateway.messages import LEGACY, MODERN, call, modern
from tests.gateway.world import World, running

PROGRAM = Path(__file__).parent / "failing_upstream.py"
PLACES = ("silent", "half", "stream")
TOOLS = [{"name": name, "inputSchema": {"type": "object"}} for name in (*PLACES, "talk")]
ERAS = pytest.mark.parametrize("version", [LEGACY, MODERN])
LONG, SHORT = 60.0, 0.3


@dataclass
class Bench:
    """A gateway with such an upstream behind it."""

    world: World
    process: Process
    client: httpx2.AsyncClient
    version: str

    async def heard(self, what: str) -> None:
        """Wait until the upstream says so."""
        await said(self.process, what)

    def ask(self, tool: str) -> "asyncio.Task[httpx2.Response]":
        """A call on its way."""
        message: dict[str, Any] = call(tool, id="c")
        body, headers = (message, {}) if self.version == LEGACY else modern(message)
        return asyncio.create_task(self.client.post("/mcp/calc", json=body, headers=headers))

    def outcome(self) -> str:
        """How the last call ended."""
        return self.world.store.outcomes[self.world.store.calls[-1].id]


@asynccontextmanager
async def failing() -> AsyncIterator[tuple[str, Process]]:
    """The upstream's URL and its process."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            PROGRAM,
            str(listener.fileno()),
            pass_fds=[listener.fileno()],
            stdin=PIPE,
            stdout=PIPE,
        )
    try:
        await said(process, "ready")
        yield url, process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def said(process: Process, what: str) -> None:
    """Wait until the upstream says so."""
    assert process.stdout is not None
    assert (await process.stdout.readline()).decode().strip() == what


@asynccontextmanager
async def bench(version: str, **times: float) -> AsyncIterator[Bench]:
    """``times`` are those of a call that differ from very long ones."""
    long = {"first_byte": LONG, "idle": LONG, "total": LONG}
    allowed = CallTimes(call=Timeouts(**{**long, **times}))
    async with asyncio.timeout(50), failing() as (url, process), running(times=allowed) as world:
        world.store.register("calc", url, (version,), TOOLS)
        async with world.client(world.store.issue(world.store.grant())) as client:
            yield Bench(world, process, client, version)


def assert_failed(got: httpx2.Response, place: str, status: int, words: str) -> None:
    """Check that the client gets the error in the form of its started answer."""
    if place in {"stream", "talk", "listen"}:
        assert got.status_code == 200
        body = json.loads(got.text.strip().splitlines()[-1].removeprefix("data: "))
    else:
        assert got.status_code == status
        body = got.json()
    assert (body["id"], body["error"]["code"]) == ("c", -32603)
    assert words in body["error"]["message"]


@ERAS
@pytest.mark.parametrize("place", PLACES)
async def test_a_killed_upstream_ends_the_call_as_an_error(place: str, version: str) -> None:
    async with bench(version) as b:
        asking = b.ask(place)
        await b.heard(f"begun {place}")
        b.process.kill()
        assert_failed(await asking, place, 502, "cannot be reached, or closed the connection")
        assert b.outcome() == "error"
        # The upstream is gone: nothing of the next call is sent.
        assert_failed(await b.ask(place), "silent", 502, "cannot be reached")
        assert b.outcome() == "not_forwarded"


@ERAS
@pytest.mark.parametrize(("place", "time"), [("silent", "first_byte"), ("half", "idle"), ("stream", "idle")])
async def test_a_stalled_upstream_runs_out_of_time(place: str, time: str, version: str) -> None:
    async with bench(version, **{time: SHORT}) as b:
        asking = b.ask(place)
        await b.heard(f"begun {place}")
        b.process.send_signal(signal.SIGSTOP)
        assert_failed(await asking, place, 504, "took too long")
        assert b.outcome() == "error"


@ERAS
async def test_an_upstream_that_keeps_its_stream_alive_runs_out_of_time_all_the_same(version: str) -> None:
    async with bench(version, total=1.0) as b:
        got = await b.ask("talk")
        assert ": still here" in got.text
        assert_failed(got, "talk", 504, "took too long")
        assert b.outcome() == "error"
        await b.heard("begun talk")
        await b.heard("left")


@pytest.mark.parametrize("place", PLACES)
async def test_a_modern_client_that_leaves_cancels_its_call(place: str) -> None:
    async with bench(MODERN) as b:
        asking = b.ask(place)
        await b.heard(f"begun {place}")
        asking.cancel()
        await b.heard("left")
        assert b.outcome() == "cancelled"


@pytest.mark.parametrize("place", PLACES)
async def test_a_call_continues_after_its_legacy_client_disconnects(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bench(LEGACY) as b:
        ended = asyncio.Event()
        finish = b.world.store.finish

        def finished(*call: Any) -> None:
            finish(*call)
            ended.set()

        monkeypatch.setattr(b.world.store, "finish", finished)
        asking = b.ask(place)
        await b.heard(f"begun {place}")
        asking.cancel()
        await asyncio.wait([asking])
        assert not ended.is_set()
        assert b.process.stdin is not None
        b.process.stdin.write(b"go on\n")
        await ended.wait()
        assert b.outcome() == "success"


async def test_the_stream_of_a_session_ends_with_its_upstream() -> None:
    async with bench(LEGACY) as b:
        async with b.client.stream("GET", "/mcp/calc") as stream:
            await b.heard("begun listen")
            b.process.kill()
            lines = [line async for line in stream.aiter_lines() if line]
        assert all(line.startswith((":", "data:")) and "error" not in line for line in lines)
        assert b.outcome() == "error"
