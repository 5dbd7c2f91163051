"""The conformance suite against the fixture server as a stdio command."""

import sys
from functools import partial
from pathlib import Path

import pytest

from app.outbound.stdio import VARIABLE, AllowedCommand, AllowedCommands
from tests.api import Account
from tests.conformance.suite import REVISIONS, install_suite, run_suite
from tests.conformance.test_conformance import DIRECT, ROOT, bearing
from tests.story.service import whole_service
from tests.supervisor.world import supervising

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

# A pipe does not support resumable streams.
PASSED = {**DIRECT, "2025-11-25": DIRECT["2025-11-25"] - 4}
RUN = f"""
import runpy, sys
sys.path.insert(0, {str(ROOT)!r})
sys.argv = ["fixture", "stdio"]
runpy.run_module("tests.conformance.fixture_server", run_name="__main__")
"""
COMMAND = (sys.executable, "-c", RUN)


@pytest.mark.parametrize("revision", REVISIONS)
async def test_a_command_passes_all_that_a_pipe_can_carry(
    revision: str, database_url: str, owner: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_suite()
    allowed, token = AllowedCommands((AllowedCommand(COMMAND),)), list[str]()
    settings = {"host": "localhost", "stdio_allowed_commands": allowed}
    # The suite opens a session for each scenario and ends few of them.
    async with supervising(tmp_path, allowed=allowed, processes=512, starts_a_minute=10_000) as world:
        monkeypatch.setenv(VARIABLE, world.address.written()[VARIABLE])
        async with whole_service(
            database_url, owner.bearer, wrap=partial(bearing, token), **settings
        ) as service:
            body = {"slug": "fixture", "transport": "stdio", "command": COMMAND[0], "args": [*COMMAND[1:]]}
            server = await service.post("/servers", body)
            synced = await service.sync(server["id"])
            assert synced["sync"]["state"] == "ok", synced
            token.append((await service.issue())["secret"])
            url = f"{service.url.replace('127.0.0.1', 'localhost')}/mcp/fixture"
            score = await run_suite(url, revision, tmp_path / "results")
    print(f"\n{revision}: {score}")  # noqa: T201
    assert not score.failed
    assert score.passed.total() >= PASSED[revision]
