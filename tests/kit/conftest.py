"""The kit's tests of sockets run on both event loops: the service uses uvloop where there is one."""

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, LoopFactory]:
    """uvloop too for the outbound client, which lives close to the transport, and alone for sockets that only the
    service as it runs has."""
    plain: dict[str, LoopFactory] = {"asyncio": asyncio.new_event_loop}
    fast: dict[str, LoopFactory] = {"uvloop": uvloop.new_event_loop}
    if item.path.name == "test_outbound_client.py":
        return {**plain, **fast}
    return fast if item.path.name == "test_guarded_http.py" else plain
