"""Fixtures for approvals: an organization, and clients for given callers."""

from collections.abc import AsyncIterator

import httpx2
import pytest
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.main import Scopegate
from tests.features.approvals.desk import Desk
from tests.features.callers import taken_at_their_word
from tests.features.tokens.world import World


@pytest.fixture
async def desk(
    app: Scopegate, api: httpx2.AsyncClient, sessions: async_sessionmaker[AsyncSession]
) -> AsyncIterator[Desk]:
    """The organization behind ``api``."""
    async with taken_at_their_word(app) as signed_in:
        yield await Desk(World(api, sessions), signed_in).furnish()
