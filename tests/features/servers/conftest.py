"""The application of these tests may connect to loopback addresses."""

from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import ip_network

import pytest

from app.main import Scopegate
from app.outbound.http import AddressPolicy, OutboundClient


@pytest.fixture
async def app(app: Scopegate) -> AsyncIterator[Scopegate]:
    """The application, with an outbound client that may connect to loopback addresses."""
    client = OutboundClient(AddressPolicy((ip_network("127.0.0.0/8"),)))
    app.api.state.runtime = replace(app.api.state.runtime, outbound=client)
    yield app
    await client.aclose()
