"""Fixtures for the tests of tokens."""

from collections.abc import AsyncIterator

import httpx2
import pytest
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.main import Scopegate
from tests.features.callers import SignedIn, taken_at_their_word
from tests.features.tokens.world import World


@pytest.fixture
def world(api: httpx2.AsyncClient, sessions: async_sessionmaker[AsyncSession]) -> World:
    """The organization behind ``api``."""
    return World(api, sessions)


@pytest.fixture
async def signed_in(app: Scopegate) -> AsyncIterator[SignedIn]:
    """Make clients for given callers, without authentication."""
    async with taken_at_their_word(app) as make:
        yield make
