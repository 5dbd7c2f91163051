"""A transmitter and the application that receives from it."""

from collections.abc import AsyncIterator

import pytest

from tests.adapters.ssf.transmitter import Transmitter
from tests.adapters.ssf.transmitter import transmitter as serving
from tests.adapters.ssf.world import Sessions, World, world_of


@pytest.fixture
async def transmitter() -> AsyncIterator[Transmitter]:
    async with serving("/tenant/") as it:
        yield it


@pytest.fixture
async def world(database_url: str, sessions: Sessions, transmitter: Transmitter) -> AsyncIterator[World]:
    async with world_of(database_url, sessions, transmitter) as it:
        yield it
