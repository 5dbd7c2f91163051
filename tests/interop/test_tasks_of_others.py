"""Tasks of real servers and clients behave the same through the gateway as directly."""

import itertools
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.api import Account
from tests.interop.others import (
    FOREIGN,
    HERE,
    environment,
    everything_server,
    node,
    python_of,
    python_server,
    run,
)
from tests.story.service import Service, whole_service

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
async def service(database_url: str, owner: Account) -> AsyncIterator[Service]:
    async with whole_service(database_url, owner.bearer) as running:
        yield running


async def lived(
    url: str, token: str, program: str | Path, client: str, within_s: float = 60
) -> list[dict[str, Any]]:
    """What a client saw of the tasks that it ran."""
    variables = environment(URL=url, SCOPEGATE_TOKEN=token)
    output = await run(program, FOREIGN / client, cwd=HERE, env=variables, within_s=within_s)
    # How often a state is seen is a matter of time.
    return [json.loads(line) for line, _ in itertools.groupby(output.splitlines())]


async def recorded(service: Service, action: str) -> list[tuple[str, str]]:
    """Tool and outcome of what is on record."""
    since = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    answer = await service.api.get("/api/v1/audit-events", params={"action": action, "since": since})
    return [(item["tool"], item["outcome"]) for item in answer.json()["items"]]


async def test_tasks_of_a_legacy_server_work_as_directly(service: Service) -> None:
    client = partial(lived, program=node(), client="client_tasks.mjs")
    async with everything_server() as url:
        directly = await client(url, "")
        await service.register("other", url)
        through = await client(f"{service.url}/mcp/other", (await service.issue())["secret"])
    # A server cannot tell one token's tasks from another's, so the list is not offered.
    assert directly[0]["tasks"].pop("list") == {}
    assert through == directly
    assert through[-3:] == [{"told": True}, {"cancelled": "cancelled", "same": True}, {"code": -32602}]
    assert await recorded(service, "task.result") == [("simulate-research-query", "success")]


async def test_tasks_of_a_modern_server_work_as_directly(service: Service) -> None:
    client = partial(lived, program=python_of("tasks"), client="client_tasks.py")
    with python_server("tasks") as url:
        directly = await client(url, "")
        await service.register("other", url)
        through = await client(f"{service.url}/mcp/other", (await service.issue())["secret"])
    assert through == directly
    assert {"asked": "Where are you?"} in through
    assert through[-2:] == [{"unseen": 7}, {"called off": "cancelled"}]
    assert await recorded(service, "task.update") == [("where", "success")]
    assert await recorded(service, "task.cancel") == [("wait", "success")]
