"""Clients for given callers, without authentication. The rest of the application is real."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx2
from fastapi import Request
from sqlalchemy.ext.asyncio import AsyncSession

from app.http.authorization import Caller, Role
from app.lib.ids import new_id
from app.main import Scopegate
from app.models.identities import Identity
from tests.api import client_of

SignedIn = Callable[[Caller], httpx2.AsyncClient]


def a_person(person: Identity, *roles: Role) -> Caller:
    """A person who signed in, with or without roles."""
    if roles:
        return Caller("administrator", new_id(), frozenset(roles), person.id)
    return Caller("identity", person.id, frozenset(), person.id)


@asynccontextmanager
async def taken_at_their_word(app: Scopegate) -> AsyncIterator[SignedIn]:
    """Make the client of a caller, one for each."""
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
    yield signed_in
    for client in clients.values():
        await client.aclose()
