"""No audit event, no change: a log that cannot take a row is an internal error, repaired automatically if possible."""

import asyncio
from uuid import uuid4

import asyncpg
import httpx2
import pytest

from app.db.engine import plain_url


def run(url: str, statement: str) -> None:
    async def execute() -> None:
        connection = await asyncpg.connect(plain_url(url))
        await connection.execute(statement)
        await connection.close()

    asyncio.run(execute())


@pytest.fixture
def database_url(database_url: str, request: pytest.FixtureRequest) -> str:
    """The database as at the start of the service, then broken by the statement of the test."""
    run(database_url, request.param)
    return database_url


async def create(api: httpx2.AsyncClient) -> httpx2.Response:
    return await api.post("/api/v1/identities", json={"kind": "person", "user_name": f"p-{uuid4().hex}"})


@pytest.mark.parametrize("database_url", ["UPDATE log_epochs SET system_identifier = 1"], indirect=True)
async def test_a_restored_database_records_again_by_itself_without_a_call_through_the_gateway(
    api: httpx2.AsyncClient,
) -> None:
    async with asyncio.timeout(50):
        while (answer := await create(api)).status_code == 503:
            assert answer.json()["code"] == "unavailable"
    assert answer.status_code == 201, answer.text


THIS_MONTH = """
DO $$ BEGIN
    EXECUTE 'DROP TABLE audit_events_' || to_char(now() AT TIME ZONE 'UTC', '"y"YYYY"m"MM');
END $$
"""


@pytest.mark.parametrize("database_url", [THIS_MONTH], indirect=True)
async def test_a_month_without_a_partition_is_a_fault_and_leaves_nothing_half_written(
    api: httpx2.AsyncClient,
) -> None:
    answer = await create(api)
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    listed = await api.get("/api/v1/identities", params={"q": "p-"})
    assert listed.json()["items"] == []
