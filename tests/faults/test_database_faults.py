"""I6: while the database is unavailable, calls quickly get 503 and nothing is allowed; then service resumes."""

import asyncio
import tempfile
from pathlib import Path
from time import monotonic

import pytest

from tests.faults.database_proxy import Fault, database_proxy
from tests.faults.harness import Gateway, administration, count_calls, organize
from tests.faults.load import Call, load
from tests.faults.upstream import upstream

ANSWER_WITHIN_S = 2.0
RESUME_WITHIN_S = 5.0
FAULT_LASTS_S = 6.0
CALLERS = 6


def _is_refusal(call: Call) -> bool:
    answer = call.answer
    return answer is not None and answer.status == 503 and b"retry-after" in answer.headers


@pytest.mark.slow
@pytest.mark.parametrize("counted", [False, True], ids=["admission", "consuming admission"])
@pytest.mark.parametrize("fault", list(Fault))
async def test_calls_are_refused_soon_and_service_resumes(
    database_url: str, fault: Fault, counted: bool
) -> None:
    with tempfile.TemporaryDirectory(prefix="sg-faults-", dir="/tmp") as place:
        async with database_proxy(database_url) as proxy, upstream() as server:
            gateway = Gateway(proxy.url, Path(place))
            try:
                await gateway.start()
                async with administration(database_url, gateway) as api:
                    organization = await organize(api, server.url)
                    if counted:
                        await count_calls(api, organization)
                port = gateway.port
                async with load(organization.way, [port], CALLERS) as running:
                    await running.answered([port], 50, since=monotonic())
                    await proxy.begin(fault)
                    began_at = monotonic()
                    await running.answered([port], 1, since=began_at + FAULT_LASTS_S)
                    ended_at = monotonic()
                    await proxy.end()
                    await running.until(lambda: any(call.ran for call in running.calls(port, since=ended_at)))
                    resumed_at = monotonic()
                    await running.answered([port], 200, since=resumed_at)
            finally:
                await asyncio.to_thread(gateway.stop)
    during = [call for call in running.history if began_at < call.started < ended_at - ANSWER_WITHIN_S]
    assert during
    assert all(_is_refusal(call) for call in during)
    assert not {call.id for call in during} & server.received.keys()
    slowest = max((call.ended or monotonic()) - call.started for call in running.history)
    assert slowest < ANSWER_WITHIN_S
    assert {call.answer.status for call in running.history if call.answer is not None} <= {200, 503}
    assert resumed_at - ended_at < RESUME_WITHIN_S
    assert all(call.ran for call in running.calls(port, since=resumed_at)[:100])


# More than the API has connections, so that a request which never ended would keep one of them for ever.
_REQUESTS = 12


@pytest.mark.slow
async def test_the_api_says_503_to_a_silent_database_and_recovers(database_url: str) -> None:
    with tempfile.TemporaryDirectory(prefix="sg-faults-", dir="/tmp") as place:
        async with database_proxy(database_url) as proxy:
            gateway = Gateway(proxy.url, Path(place))
            try:
                await gateway.start()
                async with administration(database_url, gateway) as api:
                    warm = await asyncio.gather(*(api.get("/api/v1/groups") for _ in range(_REQUESTS)))
                    assert {answer.status_code for answer in warm} == {200}
                    await proxy.begin(Fault.BLACKHOLE)
                    refused = await asyncio.gather(*(api.get("/api/v1/groups") for _ in range(_REQUESTS)))
                    assert {answer.status_code for answer in refused} == {503}
                    assert all("retry-after" in answer.headers for answer in refused)
                    await proxy.end()
                    async with asyncio.timeout(RESUME_WITHIN_S):
                        assert (await api.get("/api/v1/groups")).status_code == 200
            finally:
                await asyncio.to_thread(gateway.stop)
