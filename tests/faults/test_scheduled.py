"""An offboarding that came due while no worker ran is executed once by the first that starts."""

import asyncio

import pytest

from tests.faults.harness import administration, fetch, gateways, organize
from tests.faults.upstream import upstream
from tests.features.tokens.world import in_days

pytestmark = pytest.mark.slow

DUE = "UPDATE scheduled_offboardings SET effective_at = now() - interval '1 day'"
STANDING = """
SELECT (SELECT count(*) FROM scheduled_offboardings WHERE status = 'completed') AS done,
    (SELECT count(*) FROM offboarding_receipts) AS receipts,
    (SELECT count(*) FROM tokens WHERE revoked_at IS NULL) AS tokens
"""


async def test_what_came_due_while_all_were_down_is_done_once_when_they_start(database_url: str) -> None:
    url = database_url
    with gateways(url, 2) as running:
        async with upstream() as server, administration(url, running[0]) as api:
            people = [(await organize(api, server.url)).person for _ in range(3)]
            for person in people:
                later = {"reason": "leaves", "effective_at": in_days(30)}
                answer = await api.post(f"/api/v1/identities/{person}/offboard", json=later)
                assert answer.json()["scheduled"]["status"] == "pending", answer.text
        for gateway in running:
            gateway.kill()
        await fetch(url, DUE)
        assert dict((await fetch(url, STANDING))[0]) == {"done": 0, "receipts": 0, "tokens": len(people)}
        await asyncio.gather(*(gateway.start() for gateway in running))
        async with asyncio.timeout(20):
            while (await fetch(url, STANDING))[0]["done"] < len(people):
                pass
        assert dict((await fetch(url, STANDING))[0]) == {
            "done": len(people), "receipts": len(people), "tokens": 0,
        }  # fmt: skip
