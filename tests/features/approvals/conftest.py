"""Fixtures of approvals: an organisation, and clients of whoever a test says."""

from collections.abc import AsyncIterator
from dataclasses import replace

import httpx2
import pytest
from fastapi import Request
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.kit.authorization import Caller
from app.main import Scopegate
from tests.api import client_of
from tests.features.approvals.desk import Desk
from tests.features.tokens.world import World


@pytest.fixture
async def desk(
    app: Scopegate, api: httpx2.AsyncClient, sessions: async_sessionmaker[AsyncSession]
) -> AsyncIterator[Desk]:
    """The organisation behind ``api``."""
    runtime = app.api.state.runtime
    callers: dict[str, Caller] = {}
    clients: dict[Caller, httpx2.AsyncClient] = {}

    async def authenticate(request: Request, session: AsyncSession) -> Caller:
        found = callers.get(request.headers["authorization"])
        return found if found is not None else await runtime.authenticate(request, session)

    def signed_in(caller: Caller) -> httpx2.AsyncClient:
        if caller not in clients:
            clients[caller] = client_of(app, f"caller-{len(clients)}")
            callers[clients[caller].headers["authorization"]] = caller
        return clients[caller]

    app.api.state.runtime = replace(runtime, authenticate=authenticate)
    yield await Desk(World(api, sessions), signed_in).furnish()
    for client in clients.values():
        await client.aclose()
