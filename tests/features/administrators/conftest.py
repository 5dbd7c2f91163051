"""Fixtures for sign-ins: a provider, and clients with given verified claims."""

import base64
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from fastapi import Request
from sqlalchemy.ext.asyncio import AsyncSession

from app.adapters.oauth.authenticator import bearer_text
from app.features.administrators.sign_in import sign_in
from app.features.identity_providers.schemas import Provider
from app.http.authorization import Caller
from app.main import Scopegate
from tests.api import client_of
from tests.features.administrators.people import Json, Sessions, stored_provider

ClientOf = Callable[[Json], httpx2.AsyncClient]


@pytest.fixture
async def provider(sessions: Sessions) -> Provider:
    """An active provider whose groups give some of the roles."""
    return await stored_provider(sessions)


@pytest.fixture
async def client(app: Scopegate, provider: Provider) -> AsyncIterator[ClientOf]:
    """Make clients whose bearer tokens are claims that count as verified; the rest of the application is real."""
    runtime = app.api.state.runtime
    others = runtime.authenticate
    made: list[httpx2.AsyncClient] = []

    async def authenticate(request: Request, session: AsyncSession) -> Caller:
        text = bearer_text(request)
        if text.startswith("sg"):
            caller: Caller = await others(request, session)
            return caller
        claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(text))
        return await sign_in(runtime.sessions, provider, claims, request.state.request_id)

    app.api.state.runtime = replace(runtime, authenticate=authenticate)

    def make(claims: Json) -> httpx2.AsyncClient:
        made.append(client_of(app, base64.urlsafe_b64encode(json.dumps(claims).encode()).decode()))
        return made[-1]

    yield make
    for one in made:
        await one.aclose()
