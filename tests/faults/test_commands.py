"""Commands in the real service: several workers, one supervisor, and no leftover processes."""

import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import database
from tests.faults.harness import Gateway, administration, gateways
from tests.faults.test_workers import Caller, reached, workers
from tests.faults.wire import Connection
from tests.gateway.messages import call
from tests.story.service import Service
from tests.supervisor.world import PLAIN, PYTHON, alive, parent, passable_directory, until, user

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc"),
]


@dataclass(frozen=True, slots=True)
class Two:
    """A service with two workers, a connection to each, and a caller of its command."""

    gateway: Gateway
    caller: Caller
    pids: tuple[int, int]
    ways: tuple[Connection, Connection]

    async def pid(self, way: int, session: str) -> int:
        """The process that serves a session, asked for by one of the workers."""
        answer = await self.caller.post(self.ways[way], self.caller.path, session, call("pid"))
        assert answer.status == 200, answer
        return int(json.loads(answer.body)["result"]["content"][0]["text"])


@dataclass(frozen=True, slots=True)
class Running:
    """The service, which a test may kill."""

    database_url: str
    gateway: Gateway

    @asynccontextmanager
    async def serving_a_command(self) -> AsyncIterator[Two]:
        """With a token for its one server."""
        gateway = self.gateway
        async with administration(self.database_url, gateway) as api:
            service = Service(gateway.url, api)
            body = {"slug": "plain", "transport": "stdio", "command": PYTHON, "args": [PLAIN]}
            server = await service.post("/servers", body)
            synced = await service.sync(server["id"])
            assert synced["sync"]["state"] == "ok", synced
            issued = await service.issue()
            caller = Caller(service, "plain", issued["token"]["id"], issued["secret"])
            first, second = sorted(workers(gateway))
            with (
                closing(await reached(gateway, first)) as one,
                closing(await reached(gateway, second)) as other,
            ):
                yield Two(gateway, caller, (first, second), (one, other))


@pytest.fixture
def running() -> Iterator[Running]:
    allowed = json.dumps([f"{PYTHON} {PLAIN}"])
    with (
        database.temporary_database() as url,
        passable_directory() as place,
        gateways(
            url,
            1,
            SCOPEGATE_WORKERS="2",
            SCOPEGATE_STDIO_ALLOWED_COMMANDS=allowed,
            SCOPEGATE_STDIO_DATA_DIR=str(place / "data"),
        ) as [gateway],
    ):
        yield Running(url, gateway)


async def test_any_worker_serves_a_session_and_a_revocation_ends_its_process(running: Running) -> None:
    async with running.serving_a_command() as two:
        session = await two.caller.session(two.ways[0], two.caller.path)
        pid = await two.pid(0, session)
        assert await two.pid(1, session) == pid
        if os.geteuid() == 0:
            assert user(pid) != 0
        revoked = f"/tokens/{two.caller.token_id}/revoke"
        await two.caller.service.post(revoked, {"reason": "test"}, 200)
        await until(lambda: not alive(pid), 5)


async def test_a_dying_worker_ends_only_its_own_programs(running: Running) -> None:
    async with running.serving_a_command() as two:
        lost, kept = [await two.caller.session(way, two.caller.path) for way in two.ways]
        pids = await two.pid(0, lost), await two.pid(1, kept)
        assert all(map(alive, pids))
        os.kill(two.pids[0], signal.SIGKILL)
        await until(lambda: not alive(pids[0]), 20)
        assert await two.pid(1, kept) == pids[1]


async def test_nothing_is_left_of_a_service_that_is_killed(running: Running) -> None:
    async with running.serving_a_command() as two:
        session = await two.caller.session(two.ways[0], two.caller.path)
        pid = await two.pid(0, session)
        pids = (pid, parent(pid), parent(parent(pid)))
        assert all(map(alive, pids))
        os.kill(two.gateway.pid, signal.SIGKILL)
        await until(lambda: not any(map(alive, pids)), 20)
