"""Streams on ``/mcp`` in the whole service: changes arrive within seconds, and revocation ends streams."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from tests.api import Account
from tests.conformance.fixture_server import fixture_app
from tests.gateway.messages import LEGACY, call, initialize, modern, request
from tests.serving import listener
from tests.story.service import Service, serving, whole_service


@pytest.fixture
async def service(database_url: str, owner: Account) -> AsyncIterator[Service]:
    async with whole_service(database_url, owner.bearer) as running:
        yield running


@pytest.fixture
async def server_url() -> AsyncIterator[str]:
    """The URL of a real MCP server."""
    with listener() as sock:
        async with serving(fixture_app(), sock) as url:
            yield f"{url}/mcp"


class Stream:
    """The messages of an open stream."""

    def __init__(self, response: httpx2.Response) -> None:
        self._lines = response.aiter_lines()

    async def next(self) -> Any:
        """Return the next message; ``None`` at the end."""
        async for line in self._lines:
            if line.startswith("data: "):
                return json.loads(line.removeprefix("data: "))
        return None


@asynccontextmanager
async def both_eras(client: httpx2.AsyncClient) -> AsyncIterator[tuple[Stream, Stream, dict[str, str]]]:
    """Open a stream of each era; yields the headers of the legacy session too."""
    began = await client.post("/mcp", json=initialize())
    session = {"mcp-session-id": began.headers["mcp-session-id"], "mcp-protocol-version": LEGACY}
    wanted = {"toolsListChanged": True, "promptsListChanged": True}
    body, headers = modern(request("subscriptions/listen", {"notifications": wanted}))
    async with (
        client.stream("GET", "/mcp", headers=session) as old,
        client.stream("POST", "/mcp", json=body, headers=headers) as new,
    ):
        streams = Stream(old), Stream(new)
        assert (await streams[1].next())["method"] == "notifications/subscriptions/acknowledged"
        yield *streams, session


async def test_streams_report_a_changed_grant_and_end_with_the_token(
    service: Service, server_url: str
) -> None:
    await service.register("fixture", server_url)
    issued = await service.issue(tools={"kind": "all"})
    headers = {
        "authorization": f"Bearer {issued['secret']}",
        "accept": "application/json, text/event-stream",
    }
    identity_id = issued["token"]["identity_id"]
    async with (
        asyncio.timeout(60),
        httpx2.AsyncClient(base_url=service.url, headers=headers, timeout=60) as client,
        both_eras(client) as (old, new, session),
    ):
        level = request("logging/setLevel", {"level": "warning"})
        assert (await client.post("/mcp", json=level, headers=session)).json()["result"] == {}
        subscription = request("resources/subscribe", {"uri": "mcp+fixture+test://watched-resource"})
        assert (await client.post("/mcp", json=subscription, headers=session)).json()["result"] == {}
        body = call("fixture__test_tool_with_logging", {}, 3)
        logged = await client.post("/mcp", json=body, headers=session)
        assert '"result"' in logged.text
        assert "notifications/message" not in logged.text, "what it logs is below the level"

        grants = await service.api.get("/api/v1/grants", params={"identity_id": identity_id})
        (grant,) = grants.json()["items"]
        narrowed = await service.api.patch(
            f"/api/v1/grants/{grant['id']}",
            json={"tools": {"kind": "names", "names": ["test_simple_text"]}, "prompts": False},
        )
        assert narrowed.status_code == 200, narrowed.text
        for stream in (old, new):
            methods = {(await stream.next())["method"], (await stream.next())["method"]}
            assert "notifications/tools/list_changed" in methods
            assert "notifications/prompts/list_changed" in methods

        began = await client.post("/mcp", json=initialize())
        ending = {"mcp-session-id": began.headers["mcp-session-id"], "mcp-protocol-version": LEGACY}
        async with client.stream("GET", "/mcp", headers=ending) as opened:
            assert (await client.delete("/mcp", headers=ending)).status_code == 204
            assert await Stream(opened).next() is None, "a session takes its stream along"

        revoked = await service.api.post(
            f"/api/v1/tokens/{issued['token']['id']}/revoke", json={"reason": "x"}
        )
        assert revoked.status_code == 200, revoked.text
        assert await old.next() is None
        assert "withdrawn" in (await new.next())["error"]["message"]
        # Outcomes are written shortly after the streams end.
        outcomes: list[str] = []
        while outcomes.count("cancelled") < 2:
            listed = await service.api.get(
                "/api/v1/audit-events", params={"token_id": issued["token"]["id"], "action": "mcp.listen"}
            )
            outcomes = [event["outcome"] for event in listed.json()["items"]]
