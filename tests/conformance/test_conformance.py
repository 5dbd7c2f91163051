"""The official conformance suite passes as many checks through the gateway as directly."""

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from tests.api import Account
from tests.conformance.suite import REVISIONS, install_suite, run_scenarios, run_suite
from tests.serving import listener
from tests.story.service import Service, whole_service

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

# The score of the direct run, to detect a suite that runs fewer checks.
DIRECT = {"2025-11-25": 84, "2026-07-28": 152}
TASKS = [
    f"tasks-{name}"
    for name in (
        "lifecycle",
        "capability-negotiation",
        "wire-fields",
        "request-state-removal",
        "mrtr-input",
        "request-headers",
        "dispatch-and-envelope",
        "required-task-error",
        "mrtr-composition",
    )
]
ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def serving(module: str) -> Iterator[str]:
    """Run a fixture server in its own process; yields its URL."""
    install_suite()
    with listener() as sock:
        # It inherits a listening socket, so that it is reachable immediately.
        command = [sys.executable, "-m", f"tests.conformance.{module}", str(sock.fileno())]
        with subprocess.Popen(
            command, cwd=ROOT, stderr=subprocess.DEVNULL, pass_fds=[sock.fileno()]
        ) as process:
            try:
                wait_until_it_answers(sock.getsockname()[1])
                yield f"http://localhost:{sock.getsockname()[1]}/mcp"
            finally:
                process.kill()


def wait_until_it_answers(port: int) -> None:
    """Start the server first, because the suite does not wait for it. Any answer is fine."""
    connection = HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request("GET", "/mcp")
    connection.getresponse().close()
    connection.close()


@pytest.fixture
def fixture_server() -> Iterator[str]:
    with serving("fixture_server") as url:
        yield url


def bearing(token: list[str], app: Any) -> Any:
    """A proxy that adds the token to requests, because the suite cannot send one."""

    async def hop(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"].startswith("/mcp/") and token:
            scope["headers"] = [*scope["headers"], (b"authorization", f"Bearer {token[0]}".encode())]
        await app(scope, receive, send)

    return hop


@asynccontextmanager
async def through_the_gateway(
    database_url: str, owner: Account, server: str
) -> AsyncIterator[tuple[str, Service]]:
    """Return the URL of the server behind the service."""
    token: list[str] = []
    hop = partial(bearing, token)
    async with whole_service(database_url, owner.bearer, host="localhost", wrap=hop) as service:
        # For `localhost`, all its addresses would have to be allowed.
        await service.register("fixture", server.replace("localhost", "127.0.0.1"))
        token.append((await service.issue())["secret"])
        yield f"{service.url.replace('127.0.0.1', 'localhost')}/mcp/fixture", service


@pytest.mark.parametrize("revision", REVISIONS)
async def test_the_gateway_loses_no_check_that_the_server_passes_directly(
    revision: str, fixture_server: str, database_url: str, owner: Account, tmp_path: Path
) -> None:
    direct = await run_suite(fixture_server, revision, tmp_path / "direct")
    async with through_the_gateway(database_url, owner, fixture_server) as (url, service):
        through = await run_suite(url, revision, tmp_path / "through")
        now = datetime.now(UTC)
        window = {
            "since": (now - timedelta(hours=1)).isoformat(),
            "until": (now + timedelta(hours=1)).isoformat(),
        }
        found = await service.api.get("/api/v1/audit-events", params={"action": "tool.call", **window})
    print(f"\n{revision}: directly {direct}, through the gateway {through}")  # noqa: T201
    assert not direct.failed, "the fixture server passes"
    assert direct.passed.total() >= DIRECT[revision]
    assert direct.lost(through) == [], through.failed
    assert not through.failed
    assert len(found.json()["items"]) > 10, "the calls of the suite are on record"


async def test_the_gateway_loses_no_check_of_the_extension_for_tasks(
    database_url: str, owner: Account, tmp_path: Path
) -> None:
    with serving("fixture_tasks") as server:
        direct = await run_scenarios(server, TASKS, tmp_path / "direct")
        async with through_the_gateway(database_url, owner, server) as (url, _):
            through = await run_scenarios(url, TASKS, tmp_path / "through")
    print(f"\ntasks: directly {direct}, through the gateway {through}")  # noqa: T201
    assert not direct.failed, "the fixture server passes"
    assert direct.passed.total() >= 44
    assert direct.lost(through) == [], through.failed
    assert not through.failed
