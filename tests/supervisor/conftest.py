"""What the tests of the supervisor share."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.supervisor.world import World, passable_directory, supervising


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A running supervisor."""
    async with supervising(tmp_path) as running:
        yield running


@pytest.fixture
def passable() -> Iterator[Path]:
    """A directory that other users may pass through, which pytest's own are not."""
    with passable_directory() as path:
        yield path
