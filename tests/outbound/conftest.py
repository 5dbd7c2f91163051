"""The outbound client is tested on both event loops: the service uses uvloop where there is one."""

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, LoopFactory]:
    """uvloop too for the outbound client, which lives close to the transport."""
    loops: dict[str, LoopFactory] = {"asyncio": asyncio.new_event_loop}
    if item.path.name == "test_http_client.py":
        loops["uvloop"] = uvloop.new_event_loop
    return loops
