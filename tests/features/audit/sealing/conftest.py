"""Fixtures of the tests of the trail."""

from collections.abc import AsyncIterator

import asyncpg
import pytest


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """The owner's, of a database of this test's own."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()
