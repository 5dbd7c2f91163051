"""Published policies that the engine no longer accepts deny their calls, and operators are warned."""

import asyncio

import asyncpg
import httpx2
import pytest

from app.lib.ids import POLICY, format_id, new_id

BROKEN = [new_id() for _ in range(4)]


@pytest.fixture
def database_url(database_url: str) -> str:
    """A set with one valid policy and four that cannot be evaluated, as after a change of the engine."""

    async def publish() -> None:
        connection = await asyncpg.connect(database_url)
        for id in (new_id(), *BROKEN):
            text = (
                "no policy that this engine reads"
                if id in BROKEN
                else "permit (principal, action, resource);"
            )
            await connection.execute(
                "INSERT INTO policies (id, name, text, status, version, published_text, published_mode)"
                " VALUES ($1, $2, $3, 'published', 1, $3, 'enforce')",
                id, id.hex, text,
            )  # fmt: skip
        await connection.close()

    asyncio.run(publish())
    return database_url


async def test_readiness_names_the_published_policies_that_cannot_be_evaluated(
    anonymous: httpx2.AsyncClient,
) -> None:
    answer = await anonymous.get("/readyz")
    assert answer.status_code == 200
    named = ", ".join(format_id(POLICY, id) for id in BROKEN[:3])
    what = "4 published policies cannot be evaluated, and deny every call in their scope"
    assert answer.json()["warnings"] == [f"{what} unless they only observe: {named} and others"]
