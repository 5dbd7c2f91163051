"""I1, I3, I9 across the loss of the primary: a synchronous standby has all that was acknowledged, and it alone.

Three gateways find the new primary by the hosts of their URL alone; nothing here tells them of it.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import asyncpg
import httpx2
import pytest

from app.crypto.signed_notes import NoteSigner
from app.db.migrations import upgrade_sync
from app.features.audit.sealing.verdict import Verdict
from app.features.audit.sealing.verifying import verify_log
from app.lib.ids import EVENT, format_id
from tests.api import KEY
from tests.faults.harness import Gateway, Organization, administration, fetch, gateways, organize
from tests.faults.load import Load, load
from tests.faults.replicas import Replicas, replicas
from tests.faults.rig.probes import scopegate
from tests.faults.test_readiness import Probe
from tests.faults.upstream import Upstream, upstream

pytestmark = pytest.mark.timeout(300)
RESUME_WITHIN_S = 5.0
ORGANISATIONS = 6
QUIET_S = 15.0
_RETRY_S = 0.1
# Above the 12 s after which the API gives up a statement.
_API_TIMEOUT_S = 30.0
# Each call of the load is its own trace.
_RECORDED = "SELECT DISTINCT trace_id AS id FROM audit_events WHERE action = 'tool.call'"
# A gateway whose statement got no answer records its calls as not forwarded. If the statement was lost, such an outcome
# has no call and is not delivered.
_TO_POLL = """
SELECT id FROM audit_events event
WHERE action <> 'tool.result' OR EXISTS (SELECT FROM audit_events call WHERE call.id = event.call_id)
ORDER BY epoch, xact, seq
"""
_UNSEALED = """
SELECT (SELECT count(*) FROM audit_events) - (SELECT coalesce(max(tree_size), 0) FROM audit_checkpoints) AS n
"""


@dataclass(slots=True)
class Poller:
    """Polls the audit log from its beginning, and continues with its cursor after any error."""

    api: httpx2.AsyncClient
    after: str = ""
    ids: list[str] = field(default_factory=list)

    async def run(self) -> None:
        while True:
            with contextlib.suppress(httpx2.HTTPError):
                await self.poll()
            await asyncio.sleep(_RETRY_S)

    async def poll(self) -> int:
        answer = await self.api.get("/api/v1/audit-events", params={"after": self.after, "limit": 200})
        if answer.status_code == 503:
            return 0
        assert answer.status_code == 200, answer.text
        page = answer.json()
        self.ids += [item["id"] for item in page["items"]]
        self.after = page["next_cursor"]
        return len(page["items"])


@dataclass(slots=True)
class Scene:
    """Everything at work."""

    both: Replicas
    gateways: list[Gateway]
    apis: list[httpx2.AsyncClient]
    server: Upstream
    organizations: list[Organization]
    loads: list[Load]

    @property
    def ports(self) -> list[int]:
        return [gateway.port for gateway in self.gateways]

    async def all_run(self, since: float, of: Load | None = None) -> None:
        """Wait until each gateway has run a call that started since."""
        watched = self.loads[-1] if of is None else of

        def ran() -> bool:
            return all(any(call.ran for call in watched.calls(port, since=since)) for port in self.ports)

        await watched.until(ran)

    async def revoke(self, number: int) -> float:
        """Revoke a token, asking again while the answer is 503; when it was acknowledged."""
        path = f"/api/v1/tokens/{self.organizations[number].token}/revoke"
        while True:
            api = self.apis[number % len(self.apis)]
            with contextlib.suppress(httpx2.TransportError):
                answer = await api.post(path, json={"reason": "lost"})
                assert answer.status_code in {200, 503}, answer.text
                if answer.status_code == 200:
                    return monotonic()
                assert "retry-after" in answer.headers
            await asyncio.sleep(_RETRY_S)


@pytest.fixture
def two() -> Iterator[Replicas]:
    with replicas() as both:
        upgrade_sync(both.url)
        yield both


@asynccontextmanager
async def scene(both: Replicas, organizations: int = ORGANISATIONS) -> AsyncIterator[Scene]:
    """Three gateways, organizations and a load of each."""
    async with AsyncExitStack() as stack:
        running = await asyncio.to_thread(stack.enter_context, gateways(both.url, 3))
        server = await stack.enter_async_context(upstream())
        first = await stack.enter_async_context(administration(both.url, running[0]))
        apis = [first]
        for gateway in running[1:]:
            options: dict[str, Any] = {"headers": first.headers, "timeout": _API_TIMEOUT_S}
            apis.append(await stack.enter_async_context(httpx2.AsyncClient(base_url=gateway.url, **options)))
        made = [await organize(first, server.url) for _ in range(organizations)]
        ports = [gateway.port for gateway in running]
        loads = [await stack.enter_async_context(load(one.way, ports, 1)) for one in made]
        there = Scene(both, running, apis, server, made, loads)
        for one in loads:
            await there.all_run(monotonic(), one)
        yield there


def _overtaken(there: Scene, number: int, acknowledged_at: float) -> list[str]:
    """Calls that began after a revocation was acknowledged and were received all the same."""
    history = there.loads[number].history
    return [
        call.id for call in history if call.started > acknowledged_at and call.id in there.server.received
    ]


@pytest.mark.slow
async def test_what_was_acknowledged_survives_the_primary_with_a_synchronous_standby(two: Replicas) -> None:
    two.synchronous(on=True)
    async with scene(two) as there:
        poller = Poller(there.apis[2])
        polling = asyncio.create_task(poller.run())
        acknowledged = {0: await there.revoke(0)}
        # These are under way when the primary dies: at each instant one is before, in or after its commit.
        under_way = {number: asyncio.create_task(there.revoke(number)) for number in range(1, 5)}
        await asyncio.wait(under_way.values(), return_when=asyncio.FIRST_COMPLETED)
        await asyncio.to_thread(two.primary.kill)
        await asyncio.to_thread(two.fail_over)
        promoted_at = monotonic()
        await there.all_run(promoted_at)
        resumed_after = monotonic() - promoted_at
        for number, task in under_way.items():
            acknowledged[number] = await task
        await there.all_run(max(acknowledged.values()))
        for running in there.loads:
            running.stop()
        polling.cancel()
        await asyncio.gather(polling, return_exceptions=True)
        expected = await _settled(two, poller)
        verdict = await _verified(two)
    assert resumed_after < RESUME_WITHIN_S
    assert [_overtaken(there, number, at) for number, at in acknowledged.items()] == [[]] * len(acknowledged)
    statuses = {call.answer.status for one in there.loads for call in one.history if call.answer is not None}
    assert statuses <= {200, 401, 503}
    recorded = {row["id"] for row in await fetch(two.standby.url, _RECORDED)}
    assert there.server.received.keys() <= recorded
    epochs = await fetch(two.standby.url, "SELECT epoch, timeline FROM log_epochs ORDER BY epoch")
    assert [tuple(row) for row in epochs] == [(1, 1), (2, 2)]
    assert poller.ids == expected
    assert verdict.is_intact, verdict.faults
    assert verdict.events >= len(expected)


async def _settled(two: Replicas, poller: Poller) -> list[str]:
    """Poll until the whole audit log was read or nothing arrives; returns the recorded events in order."""
    expected: list[str] = []
    async with asyncio.timeout(60):
        quiet_since = monotonic()
        while monotonic() - quiet_since < QUIET_S:
            if await poller.poll():
                quiet_since = monotonic()
                continue
            expected = [format_id(EVENT, row["id"]) for row in await fetch(two.standby.url, _TO_POLL)]
            if len(poller.ids) >= len(expected):
                break
            await asyncio.sleep(_RETRY_S)
    return expected


async def _verified(two: Replicas) -> Verdict:
    """What ``scopegate audit verify`` says once the gateways have sealed all that there is."""
    async with asyncio.timeout(30):
        while True:
            [row] = await fetch(two.standby.url, _UNSEALED)
            if not row["n"]:
                break
            await asyncio.sleep(_RETRY_S)
    connection = await asyncpg.connect(two.standby.url)
    try:
        return await verify_log(connection, NoteSigner([KEY.encode()], "any").verifier_keys, ())
    finally:
        await connection.close()


@pytest.mark.slow
async def test_what_an_asynchronous_standby_had_not_received_is_lost_with_the_primary_and_noticed(
    two: Replicas,
) -> None:
    """No one can do better without waiting for it; the pages on scaling say so with what is found here."""
    async with scene(two, 2) as there:
        answer = await there.apis[0].get("/readyz")
        assert answer.json()["replication"] == "none or asynchronous"
        await asyncio.to_thread(two.standby.freeze)
        frozen_at = monotonic()
        await there.revoke(0)
        await there.all_run(frozen_at)
        await asyncio.to_thread(two.primary.kill)
        await asyncio.to_thread(two.standby.forget_unread)
        await asyncio.to_thread(two.standby.thaw)
        await asyncio.to_thread(two.fail_over)
        promoted_at = monotonic()
        for gateway in there.gateways:
            async with httpx2.AsyncClient(base_url=gateway.url) as client:
                said = await Probe(client).until_reason("the database went backwards", RESUME_WITHIN_S)
            assert said.status_code == 503
        assert not any(
            call.ran for port in there.ports for call in there.loads[0].calls(port, since=promoted_at)
        )
        confirmed = await asyncio.to_thread(
            scopegate, "audit", "accept-restore", DATABASE_URL=two.standby.url
        )
        assert confirmed.returncode == 0, confirmed.stderr
        # The token that was revoked works again, on every gateway, as the command says.
        await there.all_run(promoted_at, there.loads[0])
    recorded = {row["id"] for row in await fetch(two.standby.url, _RECORDED)}
    assert there.server.received.keys() - recorded


@pytest.mark.slow
async def test_nothing_is_acknowledged_while_the_synchronous_standby_is_away(two: Replicas) -> None:
    """A retry is not acknowledged either, although it finds the change of the unconfirmed commit."""
    two.synchronous(on=True)
    async with scene(two, 2) as there:
        await asyncio.to_thread(two.standby.freeze)
        frozen_at = monotonic()
        path = f"/api/v1/tokens/{there.organizations[0].token}/revoke"
        for _ in range(2):
            answer = await there.apis[0].post(path, json={"reason": "lost"}, timeout=_API_TIMEOUT_S)
            assert answer.status_code == 503, answer.text
            assert "retry-after" in answer.headers
        counts = "SELECT application_name, count(*) AS n FROM pg_stat_activity GROUP BY 1"
        of_lanes = [
            row["n"] for row in await fetch(two.primary.url, counts)
            if row["application_name"].startswith(("scopegate-admissions", "scopegate-settlements"))
        ]  # fmt: skip
        thawed_at = monotonic()
        await asyncio.to_thread(two.standby.thaw)
        await there.revoke(0)
        await there.all_run(thawed_at)
        resumed_after = monotonic() - thawed_at
    # What was given up at its deadline waits for the standby all the same, until it is ended.
    assert max(of_lanes) <= 2
    during = [call for call in there.loads[1].history if frozen_at + 0.5 < call.started < thawed_at - 2]
    assert during
    assert {call.answer.status for call in during if call.answer is not None} == {503}
    assert not {call.id for call in during} & there.server.received.keys()
    assert max((call.ended or thawed_at) - call.started for call in during) < 2
    assert resumed_after < RESUME_WITHIN_S
