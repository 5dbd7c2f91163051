"""Fixtures of the tests of what holds for every resource."""

import httpx2
import pytest
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from tests.contract.things import Things


@pytest.fixture
def things(api: httpx2.AsyncClient, sessions: async_sessionmaker[AsyncSession]) -> Things:
    """Objects of an owner's making."""
    return Things(api, sessions)
