"""Sockets that only the service as it runs has are tested on uvloop alone."""

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

from tests import kept_connections

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, LoopFactory]:
    """uvloop for the server's protocol, the plain loop for the rest."""
    if item.path.name == "test_server_protocol.py":
        return {"uvloop": uvloop.new_event_loop}
    return {"asyncio": kept_connections.event_loop}
