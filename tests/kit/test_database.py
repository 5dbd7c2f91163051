"""Engines: what an error of the database says."""

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.kit.database import make_engine


async def test_the_text_of_an_error_holds_no_parameter(database_url: str) -> None:
    engine = make_engine(database_url, pool_size=1, name="test")
    with pytest.raises(DBAPIError) as raised:
        async with engine.connect() as connection:
            await connection.execute(
                text("SELECT 1 / (length(CAST(:sent AS text)) - 18)"), {"sent": "what-a-client-sent"}
            )
    assert "division by zero" in str(raised.value)
    assert "what-a-client-sent" not in str(raised.value)
    await engine.dispose()


async def test_a_statement_that_is_cancelled_ends_its_task(database_url: str) -> None:
    """Taken for a database that is away, it would be swallowed by every loop that waits for one to come back."""
    engine = make_engine(database_url, pool_size=2, name="test")
    running = text(
        "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(600)' AND state = 'active'"
    )

    async def sleep() -> None:
        async with engine.connect() as connection:
            await connection.execute(text("SELECT pg_sleep(600)"))

    task = asyncio.create_task(sleep())
    async with engine.connect() as connection:
        while not (await connection.execute(running)).scalar_one():
            await connection.rollback()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await engine.dispose()
