"""I1: every call that an upstream received is in the audit log, whenever a gateway is killed."""

from collections.abc import Iterator
from random import Random
from time import monotonic
from uuid import UUID

import httpx2
import pytest

from app.lib.ids import EVENT, format_id
from tests.faults.harness import Gateway, administration, count_calls, fetch, gateways, organize
from tests.faults.load import Load, load
from tests.faults.upstream import Upstream, upstream

ROUNDS = 12
# A call whose worker is lost shows ``unknown`` within a minute of the loss.
AT_MOST_S = 60
_CALLS = "SELECT id, trace_id FROM audit_events WHERE action = 'tool.call' AND decision = 'allow'"
_GIVEN_BACK = "SELECT DISTINCT call_id FROM audit_events WHERE outcome = 'not_forwarded'"
_WITHOUT_OUTCOME = """
SELECT e.id FROM audit_events e WHERE e.action = 'tool.call'
AND NOT EXISTS (SELECT FROM audit_events r WHERE r.action = 'tool.result' AND r.call_id = e.id)
"""


@pytest.fixture
def two(database_url: str) -> Iterator[list[Gateway]]:
    """Two gateways of the test's own, to be killed."""
    with gateways(database_url, 2) as running:
        yield running


async def _strike(running: Load, server: Upstream, victim: Gateway, *, holding: bool, after: int) -> None:
    """Kill a gateway after so many answers, or at the instant when the upstream holds a call of its."""
    await running.answered([victim.port], after, since=monotonic())
    if holding:
        await server.until(lambda: bool(running.in_flight[victim.port] & server.answering))
    victim.kill()


async def _outcome(api: httpx2.AsyncClient, id: UUID) -> str:
    answer = await api.get(f"/api/v1/audit-events/{format_id(EVENT, id)}")
    assert answer.status_code == 200, answer.text
    return str(answer.json()["outcome"])


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("counted", "rounds"), [(False, ROUNDS), (True, ROUNDS // 3)], ids=["admission", "consuming admission"]
)
async def test_every_call_that_was_received_is_in_the_audit(
    database_url: str, two: list[Gateway], counted: bool, rounds: int
) -> None:
    random = Random(12)
    async with upstream(delay=0.02) as server:
        async with administration(database_url, two[0]) as api:
            organization = await organize(api, server.url)
            if counted:
                await count_calls(api, organization)
        async with load(organization.way, [gateway.port for gateway in two]) as running:
            for number in range(rounds):
                victim = two[number % 2]
                await _strike(running, server, victim, holding=number % 3 != 0, after=random.randrange(1, 60))
                await victim.start()
            for gateway in two:
                await _strike(running, server, gateway, holding=True, after=5)
            running.stop()
    calls = await fetch(database_url, _CALLS)
    audited = {row["trace_id"] for row in calls}
    assert len(server.received) > rounds
    assert server.received.keys() <= audited
    if counted:
        [row] = await fetch(database_url, "SELECT sum(used) AS used FROM quota_uses")
        given_back = await fetch(database_url, _GIVEN_BACK)
        released = {row["call_id"] for row in given_back} & {row["id"] for row in calls}
        assert row["used"] == len(calls) - len(released)
    # The kills struck calls that were running, else this would have shown nothing.
    lost = [row["id"] for row in await fetch(database_url, _WITHOUT_OUTCOME)]
    assert len(lost) >= rounds // 2
    assert any(call.answer is None for call in running.history)

    await fetch(database_url, f"UPDATE worker_leases SET renewed_at = renewed_at - interval '{AT_MOST_S} s'")
    await two[0].start()
    async with administration(database_url, two[0]) as api:
        assert {await _outcome(api, id) for id in lost} == {"unknown"}
        finished = [row["id"] for row in calls if row["id"] not in set(lost)]
        assert {await _outcome(api, id) for id in finished[:20]} == {"success"}
