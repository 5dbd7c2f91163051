"""Fixtures for tests of the audit log."""

from collections.abc import AsyncIterator

import asyncpg
import pytest


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """A connection of the owner to this test's own database."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()
