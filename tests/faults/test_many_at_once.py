"""Many concurrent requests to a service that has just started: each is served or gets a time to retry."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import httpx2
import pytest

from tests.faults.harness import administration, gateways

CALLERS = 500
POOL = 10
SERVED_WITHIN_S = 150.0
"""Much more than it takes, for machines that have much else to do."""
_HELD = (
    "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'scopegate-api' "
    "AND datname = current_database()"
)


@asynccontextmanager
async def watched(database_url: str) -> AsyncIterator[list[int]]:
    """How many connections the API's pool held, again and again until the end of the block."""
    held: list[int] = []
    connection = await asyncpg.connect(database_url)

    async def watch() -> None:
        while True:
            held.append(await connection.fetchval(_HELD))
            await asyncio.sleep(0.05)

    watching = asyncio.create_task(watch())
    try:
        yield held
    finally:
        watching.cancel()
        await asyncio.wait([watching])
        await connection.close()
    assert watching.cancelled()


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_hundreds_at_once_after_a_start_are_served_or_get_a_time_to_retry(
    database_url: str,
) -> None:
    with gateways(database_url, 1, SCOPEGATE_DATABASE_POOL_SIZE=str(POOL)) as [gateway]:
        async with administration(database_url, gateway) as signed_in:
            headers = dict(signed_in.headers)
        limits = httpx2.Limits(max_connections=CALLERS, max_keepalive_connections=CALLERS)
        async with (
            httpx2.AsyncClient(base_url=gateway.url, headers=headers, timeout=30, limits=limits) as api,
            watched(database_url) as held,
        ):
            statuses: Counter[int] = Counter()

            async def ask(number: int) -> None:
                while True:
                    answer = await api.post("/api/v1/groups", json={"name": f"group {number}"})
                    statuses[answer.status_code] += 1
                    if answer.status_code == 201:
                        return
                    assert answer.status_code in {429, 503}, answer.text
                    await asyncio.sleep(float(answer.headers["retry-after"]))

            async with asyncio.timeout(SERVED_WITHIN_S):
                await asyncio.gather(*(ask(number) for number in range(CALLERS)))
    assert statuses[201] == CALLERS
    assert 1 < max(held) <= POOL, statuses
