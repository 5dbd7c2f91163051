"""When a command ends, and that nothing of it is left."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app.supervisor.isolation import FREE_USERS
from app.supervisor.program import Program
from tests.supervisor.world import (
    Worker,
    World,
    alive,
    call,
    guarded,
    owner,
    parent,
    supervising,
    until,
    user,
)

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives each process a user of its own")


async def test_what_a_program_started_ends_with_it_wherever_it_went(tmp_path: Path) -> None:
    async with guarded(tmp_path, as_us=True) as (_, worker):
        other = await worker.legacy()
        session = await worker.legacy()
        pids = [int(await call(session, tool)) for tool in ("pid", "child", "daemon")]
        assert all(map(alive, pids))
        await session.close()
        await until(lambda: not any(map(alive, pids)))
        assert await call(other, "count") == "1"


@as_root
async def test_a_users_processes_all_end_with_its_session(passable: Path) -> None:
    async with supervising(passable, FREE_USERS) as world:
        session = await world.worker().legacy()
        pids = [int(await call(session, tool)) for tool in ("pid", "child", "daemon")]
        assert all(map(alive, pids))
        await session.close()
        await until(lambda: not any(map(alive, pids)))


@as_root
async def test_a_session_that_ends_leaves_others_of_its_server_alone(passable: Path) -> None:
    async with supervising(passable, FREE_USERS) as world:
        worker = world.worker()
        kept, ended = await world.sibling(worker).legacy(), await worker.legacy()
        pids = [int(await call(ended, tool)) for tool in ("pid", "child")]
        assert json.loads(await call(kept, "who"))["uid"] == user(pids[0])
        await ended.close()
        await until(lambda: not any(map(alive, pids)))
        assert await call(kept, "count") == "1"


@as_root
async def test_as_root_two_servers_cannot_see_or_signal_each_other(passable: Path) -> None:
    async with supervising(passable, FREE_USERS) as world:
        variables = {"API_KEY": "of-both"}
        servers = world.worker(variables=variables), world.worker(variables=variables)
        async with await servers[0].legacy() as one, await servers[1].legacy() as two:
            mine, theirs = json.loads(await call(one, "who")), json.loads(await call(two, "who"))
            assert mine["uid"] != theirs["uid"]
            assert {mine["uid"], theirs["uid"]} <= set(FREE_USERS)
            assert mine["groups"] == []
            pid = int(await call(two, "pid"))
            assert await call(two, "writes", path="notes") == "4"
            assert await call(one, "signals", pid=pid) == "PermissionError"
            for path in (
                f"/proc/{pid}/environ",
                f"{theirs['home']}/tmp/x",
                f"{theirs['data']}/notes",
                str(passable / "data" / ".lock"),
            ):
                assert await call(one, "reads", path=path) == "PermissionError"
            assert await call(one, "writes", path=f"{theirs['data']}/x") == "PermissionError"
            assert await call(one, "writes", path=str(passable / "data" / "x")) == "PermissionError"
            assert await call(one, "reads", path=world.address.socket) in {"PermissionError", "OSError"}


async def test_memory_is_bounded(tmp_path: Path) -> None:
    async with supervising(tmp_path, memory=256 * 1024 * 1024) as world:
        session = await world.worker().legacy()
        assert await call(session, "allocates", bytes=1024) == "1024"
        assert await call(session, "allocates", bytes=512 * 1024 * 1024) == "MemoryError"


async def test_a_revoked_pair_of_token_and_server_ends_at_once_and_others_go_on(world: World) -> None:
    worker = world.worker()
    other = world.sibling(worker)
    mine, theirs = await worker.legacy(), await other.legacy()
    pids = [int(await call(mine, "pid")), int(await call(worker.modern(), "pid"))]
    await worker.tell(b"/end", [[worker.holder.token_id.hex, worker.launch.server_id.hex]])
    await until(lambda: not any(map(alive, pids)))
    assert (
        await worker.send("POST", {"jsonrpc": "2.0", "id": 1, "method": "ping"}, mine.session_id)
    ).status == 404
    assert await call(theirs, "count") == "1"


async def test_what_a_silent_worker_held_ends_unless_another_holds_it_too(tmp_path: Path) -> None:
    async with supervising(tmp_path, lease=3.0) as world:
        silent, other = world.worker(), world.worker()
        sibling = Worker(world.outbound, world.address, other.launch, other.holder)
        beat = sibling.holder.worker_id.hex

        async def beating() -> None:
            while True:
                await sibling.tell(b"/beat", beat)
                await asyncio.sleep(0.05)

        # From before it has anything that a pause might cost it.
        task = asyncio.create_task(beating())
        session = await other.legacy()
        kept = int(await call(session, "pid"))
        assert await sibling.tell(b"/beat", beat) == [[other.holder.token_id.hex, other.launch.server_id.hex]]
        lost, shared = int(await call(await silent.legacy(), "pid")), await world.sibling(silent).legacy()
        await until(lambda: not alive(lost))
        assert alive(kept)
        assert shared.session_id
        task.cancel()


async def test_what_a_worker_held_ends_when_it_falls_silent(tmp_path: Path) -> None:
    async with supervising(tmp_path, lease=3.0) as world:
        worker = world.worker()
        held = int(await call(await worker.legacy(), "pid"))
        await worker.tell(b"/beat", worker.holder.worker_id.hex)
        await until(lambda: not alive(held))


async def test_an_idle_session_ends_and_one_with_a_stream_does_not(tmp_path: Path) -> None:
    async with supervising(tmp_path, idle=3.0) as world:
        idle, listening = world.worker(), world.worker()
        pid = int(await call(await idle.legacy(), "pid"))
        session = await listening.legacy()
        stream = await listening.send("GET", session=session.session_id)
        kept = int(await call(session, "pid"))
        await until(lambda: not alive(pid))
        assert alive(kept)
        stream.close()


async def test_a_session_whose_stream_was_closed_is_idle(tmp_path: Path) -> None:
    async with supervising(tmp_path, idle=3.0) as world:
        worker = world.worker()
        session = await worker.legacy()
        pid = int(await call(session, "pid"))
        (await worker.send("GET", session=session.session_id)).close()
        await until(lambda: not alive(pid))


async def test_a_call_whose_caller_has_left_keeps_no_session_from_ending(tmp_path: Path) -> None:
    async with supervising(tmp_path, idle=3.0) as world:
        worker = world.worker()
        session = await worker.legacy()
        pid = int(await call(session, "pid"))
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "silent"}}
        (await worker.send("POST", message, session.session_id)).close()
        await until(lambda: not alive(pid))
        assert not alive(pid)


@pytest.mark.parametrize("tool", ["flood", "long_line"])
async def test_a_program_that_floods_is_ended(tmp_path: Path, tool: str) -> None:
    async with supervising(tmp_path, line=1024 * 1024) as world:
        session = await world.worker().legacy()
        pid = int(await call(session, "pid"))
        with pytest.raises(Exception, match="ended before it answered"):
            await call(session, tool)
        await until(lambda: not alive(pid))


async def test_a_program_that_does_not_read_is_ended(tmp_path: Path) -> None:
    async with supervising(tmp_path, unread_input=300_000) as world:
        worker = world.worker()
        session = await worker.legacy()
        pid = int(await call(session, "pid"))
        await call(session, "deaf")
        message = {"jsonrpc": "2.0", "method": "notifications/x", "params": {"filling": "x" * 100_000}}
        for _ in range(6):
            await (await worker.send("POST", message, session.session_id)).read()
        await until(lambda: not alive(pid))
        assert not alive(pid)


async def test_a_client_that_does_not_read_slows_its_own_program_alone(tmp_path: Path) -> None:
    async with supervising(tmp_path, unread_output=100_000) as world:
        worker = world.worker()
        session = await worker.legacy()
        params = {"name": "large", "arguments": {"bytes": 8_000_000}}
        message: Any = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        response = await worker.send("POST", message, session.session_id)
        assert await call(await world.worker().legacy(), "count") == "1"
        assert len(await response.read()) > 8_000_000
        assert await call(session, "count") == "1"


@pytest.mark.slow
@pytest.mark.parametrize("as_us", [True, False])
async def test_a_supervisor_that_is_killed_leaves_nothing_and_comes_back(tmp_path: Path, as_us: bool) -> None:
    async with guarded(tmp_path, as_us=as_us) as (guard, worker):
        session = await worker.legacy()
        pids = [int(await call(session, tool)) for tool in ("pid", "child", "daemon")]
        supervisor = parent(pids[0])
        os.kill(supervisor, signal.SIGKILL)
        await until(lambda: not any(map(alive, pids)))
        async with asyncio.timeout(50):
            while True:
                try:
                    again = await worker.legacy()
                    break
                except Exception:  # noqa: BLE001
                    await asyncio.sleep(0.05)
        assert parent(int(await call(again, "pid"))) != supervisor
        assert guard.exit_code is None


@pytest.mark.slow
@pytest.mark.parametrize("as_us", [True, False])
async def test_a_guard_that_is_killed_takes_everything_along(tmp_path: Path, as_us: bool) -> None:
    async with guarded(tmp_path, as_us=as_us) as (guard, worker):
        session = await worker.legacy()
        pids = [int(await call(session, tool)) for tool in ("pid", "child", "daemon")]
        pids.append(parent(pids[0]))
        os.kill(parent(pids[-1]), signal.SIGKILL)
        await until(lambda: not any(map(alive, pids)))
        assert guard.wait(30) is not None


async def test_stopping_the_guard_stops_everything(tmp_path: Path) -> None:
    async with guarded(tmp_path) as (guard, worker):
        session = await worker.legacy()
        pids = [int(await call(session, tool)) for tool in ("pid", "child", "daemon")]
        pids.append(parent(pids[0]))
        await asyncio.to_thread(guard.stop)
        assert not any(map(alive, pids))


@as_root
async def test_what_a_server_left_for_all_users_to_see_goes_with_its_last_session(passable: Path) -> None:
    async with supervising(passable, FREE_USERS) as world:
        worker = world.worker()
        session, other = await worker.legacy(), await world.sibling(worker).legacy()
        left = Path(await call(session, "leaves"))
        assert owner(left) == json.loads(await call(session, "who"))["uid"]
        await session.close()
        await until(lambda: len(world.sessions) == 1)
        assert owner(left), "what other sessions use stays"
        await other.close()
        await until(lambda: not left.exists())


async def test_a_program_that_makes_hard_work_waits_for_a_while(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.supervisor.program._MAX_WORK_S", 0.0)
    monkeypatch.setattr("app.supervisor.program._PAUSE_FACTOR", 1.0)
    rested: list[str] = []
    rest = Program.pause

    def resting(program: Program, reason: str) -> None:
        rested.append(reason)
        rest(program, reason)

    monkeypatch.setattr(Program, "pause", resting)
    session = await world.worker().legacy()
    assert await call(session, "count") == "1"
    assert await call(session, "count") == "2"
    assert rested.count("work") >= 3


def test_what_hides_from_its_equals_cannot_be_traced_or_read_by_them() -> None:
    code = (
        "import ctypes; from app.supervisor.processes import hide_from_equals; hide_from_equals(); "
        "print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"  # PR_GET_DUMPABLE
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "0"
