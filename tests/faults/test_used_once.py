"""Approvals and quota uses are consumed once, at any replica."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from app.lib.ids import IDENTITY, parse_id
from tests.faults.conftest import Pair
from tests.faults.harness import Organization, administration, fetch, organize
from tests.faults.upstream import ECHO, SLOW
from tests.faults.wire import Answer, Connection, tool_result
from tests.gateway.upstreams import Seen, scripted, send_json

pytestmark = pytest.mark.slow
ATTEMPTS, ROUNDS, A_DAY = 50, 3, 7
FORBID = 'forbid (principal, action == Action::"call_tool", resource == Tool::"{slug}/{tool}");'


@dataclass(frozen=True, slots=True)
class Office:
    """Two replicas, their administrator, and an upstream."""

    pair: Pair
    api: httpx2.AsyncClient
    here: Organization
    seen: Seen

    async def publish(self, name: str, text: str, tool: str = ECHO) -> str:
        """Publish a policy; its path."""
        text = text + " " + FORBID.replace("{slug}", self.here.way.slug).replace("{tool}", tool)
        made = await self.api.post(
            "/api/v1/policies", json={"name": f"{name} {self.here.way.slug}", "text": text}
        )
        assert made.status_code == 201, made.text
        path = f"/api/v1/policies/{made.json()['id']}"
        await self.changed("POST", f"{path}/publish", made.headers["etag"])
        return path

    async def changed(self, method: str, path: str, etag: str, **body: Any) -> str:
        """Change a policy; its new ETag."""
        answer = await self.api.request(method, path, headers={"If-Match": etag}, json=body or None)
        assert answer.is_success, answer.text
        return answer.headers["etag"]

    async def approve(self) -> None:
        """Approve the one call that waits."""
        query = {"state": "pending", "identity_id": self.here.person}
        [waiting] = (await self.api.get("/api/v1/approvals", params=query)).json()["items"]
        answer = await self.api.post(f"/api/v1/approvals/{waiting['id']}/approve", json={})
        assert answer.is_success, answer.text

    async def attempts(self, count: int, tool: str = ECHO, call: str = "0" * 32) -> list[Answer]:
        """So many calls at once, all the same, half of them at each replica."""
        wire = self.here.way.call(tool, call)
        connections = [await Connection.open(self.pair.ports[n % 2]) for n in range(count)]
        try:
            return await asyncio.gather(*(connection.exchange(wire) for connection in connections))
        finally:
            for connection in connections:
                connection.close()

    async def ran(self, count: int, tool: str = ECHO) -> int:
        """Return how many of the attempts reached the server, and check that as many callers got a result."""
        self.seen.requests.clear()
        answers = await self.attempts(count, tool)
        assert {answer.status for answer in answers} == {200}
        answered = sum(tool_result(answer) is not None for answer in answers)
        assert answered == len(self.seen.of("tools/call"))
        return answered


@asynccontextmanager
async def office(pair: Pair) -> AsyncIterator[Office]:
    async def script(message: dict[str, Any], _receive: Any, send: Any) -> None:
        result = {"content": [], "resultType": "complete"}
        await send_json(send, 200, {"jsonrpc": "2.0", "id": message["id"], "result": result})

    async with scripted(script) as (url, seen), administration(pair.database_url, pair.gateways[0]) as api:
        yield Office(pair, api, await organize(api, url), seen)


async def test_fifty_attempts_on_two_replicas_run_once_for_each_approval(pair: Pair) -> None:
    async with office(pair) as here:
        path = await here.publish("asking", '@require_approval("No one in particular")')
        assert await here.ran(1) == 0
        for _ in range(ROUNDS):
            await here.approve()
            assert await here.ran(ATTEMPTS) == 1
        counted = "SELECT state, count(*) FROM approvals WHERE identity_id = $1 GROUP BY 1 ORDER BY 1"
        rows = await fetch(pair.database_url, counted, parse_id(IDENTITY, here.here.person))
        assert [tuple(row) for row in rows] == [("consumed", ROUNDS), ("pending", 1)]

        # Another policy's publication ends no approval; that of the one that asks does.
        await here.approve()
        await here.publish("unrelated", '@reason("Not this one.")', SLOW)
        assert await here.ran(2) == 1
        await here.approve()
        etag = (await here.api.get(path)).headers["etag"]
        text = (await here.api.get(path)).json()["text"].replace("in particular", "else")
        etag = await here.changed("PATCH", path, etag, text=text)
        await here.changed("POST", f"{path}/publish", etag)
        assert await here.ran(ATTEMPTS) == 0


async def test_fifty_attempts_on_two_replicas_run_as_often_as_a_quota_says(pair: Pair) -> None:
    async with office(pair) as here:
        await here.publish("counting", f'@quota("{A_DAY} per day")')
        assert await here.ran(ATTEMPTS) == A_DAY
        assert await here.ran(2) == 0
