"""Fixtures for the tests of tokens and offboarding."""

import httpx2
import pytest
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from tests.features.tokens.world import World


@pytest.fixture
def world(api: httpx2.AsyncClient, sessions: async_sessionmaker[AsyncSession]) -> World:
    """The organisation behind ``api``."""
    return World(api, sessions)
