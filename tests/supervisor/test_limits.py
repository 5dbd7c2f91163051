"""How many commands there may be, and what becomes of those that fail."""

import asyncio
import json
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from app.outbound.mcp.exchange import McpUpstreamError
from app.outbound.stdio import AllowedCommand, AllowedCommands, Launch
from app.supervisor.bridge import Bridge
from app.supervisor.isolation import Limits, Refused
from tests.supervisor.test_sessions import INITIALIZE
from tests.supervisor.world import Worker, alive, call, supervising, until


async def refusal(worker: Worker) -> tuple[int, str, bytes | None]:
    """Status, words and ``Retry-After`` of an ``initialize`` that is refused."""
    response = await worker.send("POST", INITIALIZE)
    body: Any = json.loads(await response.read())
    return response.status, body["error"]["message"], response.header(b"retry-after")


async def test_a_token_an_identity_a_server_and_the_host_have_so_many_and_no_more(tmp_path: Path) -> None:
    async with supervising(tmp_path, processes=8) as world:
        one = world.worker()
        assert (await one.legacy()).session_id
        status, words, wait = await refusal(one)
        assert (status, wait) == (429, b"5")
        assert words.startswith("This token has too many sessions")
        same = world.sibling(one, identity_id=one.holder.identity_id)
        await same.legacy()
        third = world.sibling(one, identity_id=one.holder.identity_id)
        assert (await refusal(third))[1].startswith("This identity has")
        for _ in range(2):
            await world.sibling(one).legacy()
        assert (await refusal(world.sibling(one)))[1].startswith("This server has")
        for _ in range(4):
            await world.worker().legacy()
        assert (await refusal(world.worker()))[1].startswith("The gateway's host has")
        await one.tell(b"/end", [[one.holder.token_id.hex, one.launch.server_id.hex]])
        await until(lambda: len(world.sessions) == 7)
        async with asyncio.timeout(50):
            while (await one.send("POST", INITIALIZE)).status != 200:  # noqa: ASYNC110
                await asyncio.sleep(0.02)


async def test_many_that_come_at_once_find_no_more_room_than_one_after_another(tmp_path: Path) -> None:
    async with supervising(tmp_path, processes=16) as world:
        worker = world.worker()
        answers = await asyncio.gather(*(worker.send("POST", INITIALIZE) for _ in range(6)))
        assert sorted(answer.status for answer in answers) == [200, 200, 429, 429, 429, 429]


async def test_an_idle_session_gives_way_to_another_of_its_own_token(tmp_path: Path) -> None:
    async with supervising(tmp_path, processes=8, evict=0.0) as world:
        worker = world.worker()
        pid = int(await call(await worker.legacy(), "pid"))
        assert await call(await worker.legacy(), "count") == "1"
        await until(lambda: not alive(pid))


@pytest.fixture
def standstill(monkeypatch: pytest.MonkeyPatch) -> None:
    """No time passes by which a rest of a second may be over."""
    now = monotonic()
    monkeypatch.setattr("app.supervisor.sessions.monotonic", lambda: now)


@pytest.mark.usefixtures("standstill")
async def test_a_program_that_fails_again_and_again_rests_for_its_identity_alone(tmp_path: Path) -> None:
    async with supervising(tmp_path) as world:
        worker = world.worker("--exits")
        for _ in range(3):
            with pytest.raises(McpUpstreamError, match="ended before it answered"):
                await worker.legacy()
        status, words, wait = await refusal(worker)
        assert (status, wait) == (503, b"1")
        assert "failed several times" in words
        with pytest.raises(McpUpstreamError, match="ended before it answered"):
            await world.sibling(worker).legacy()


@pytest.mark.usefixtures("standstill")
async def test_a_program_that_crashes_at_work_is_told_and_counted(tmp_path: Path) -> None:
    async with supervising(tmp_path) as world:
        worker = world.worker()
        for _ in range(3):
            session = await worker.legacy()
            with pytest.raises(McpUpstreamError, match="ended before it answered"):
                await call(session, "crash")
            with pytest.raises(McpUpstreamError, match="the session has ended"):
                await call(session, "count")
        assert (await refusal(worker))[0] == 503


async def test_an_identity_starts_so_many_programs_a_minute(tmp_path: Path) -> None:
    async with supervising(tmp_path, starts_a_minute=3) as world:
        worker = world.worker()
        for _ in range(3):
            await (await worker.legacy()).close()
        assert (await refusal(worker))[0] == 429


async def test_a_program_that_says_nothing_is_ended_when_its_time_is_up(tmp_path: Path) -> None:
    async with supervising(tmp_path, start=0.5) as world:
        worker = world.worker("--never")
        status, words, _ = await refusal(worker)
        assert (status, words) == (504, "The program of this server did not start in time.")
        await until(lambda: len(world.sessions) == 0)


async def test_silence_is_how_an_older_program_may_answer_to_the_newer_era(tmp_path: Path) -> None:
    async with supervising(tmp_path, start=0.5) as world:
        with pytest.raises(McpUpstreamError) as caught:
            await world.worker("--never").modern().request("server/discover")
        assert caught.value.code == -32601
        assert len(world.sessions) == 0


async def test_a_program_that_is_not_there_is_told_in_plain_words(tmp_path: Path) -> None:
    gone = "/nowhere/server"
    async with supervising(tmp_path, allowed=AllowedCommands((AllowedCommand((gone,)),))) as world:
        worker = world.worker()
        worker.launch = Launch(worker.launch.server_id, gone, ())
        assert await refusal(worker) == (
            503,
            "The program of this server is not installed on the gateway's host.",
            None,
        )


def test_a_session_has_so_many_requests_without_an_answer() -> None:
    sent: list[bytes] = []
    bridge = Bridge(sent.append, lambda: None, lambda: None, Limits(), modern=False)
    for number in range(1000):
        bridge.ask({"jsonrpc": "2.0", "id": number, "method": "tools/call"})
    with pytest.raises(Refused, match="too many requests"):
        bridge.ask({"jsonrpc": "2.0", "id": "one more", "method": "tools/call"})
    assert len(sent) == 1000
