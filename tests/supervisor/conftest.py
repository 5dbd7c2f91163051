"""What the tests of the supervisor share."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.supervisor.world import World, supervising


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A running supervisor."""
    async with supervising(tmp_path) as running:
        yield running
