"""Tests of the outbound client run on both event loops, since the service uses uvloop if available."""

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, LoopFactory]:
    """Also use uvloop, since the outbound client depends on the transport."""
    loops: dict[str, LoopFactory] = {"asyncio": asyncio.new_event_loop}
    if item.path.name == "test_http_client.py":
        loops["uvloop"] = uvloop.new_event_loop
    return loops
